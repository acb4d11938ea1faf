// @ts-check
// The pack's settings, kept by the host. The first two are read by the server, too; nothing that changes an image is
// a setting: that is what inputs of nodes are for.

/** @typedef {(id: string, value: any) => void} Listener */

/** @type {Set<Listener>} */
const listeners = new Set();

/**
 * Hear of changed settings. The host tells of every setting once while it is registered, when no graph exists yet.
 * @param {Listener} listener gets the new value; the host's own getter may still give the old one then
 * @returns {() => void} stops it
 */
export function onSetting(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/**
 * @template {{id: string}} T
 * @param {T} definition
 */
function heard(definition) {
  let known = false;
  const onChange = (/** @type {any} */ value) => {
    const first = !known;
    known = true;
    if (first) return;
    for (const listener of [...listeners]) listener(definition.id, value);
  };
  return { ...definition, onChange };
}

// The host sorts by sortOrder, the highest first.
export const settings = [
  {
    id: "HPS.Ledger.Enabled",
    category: ["HPS", "Ledger", "Enabled"],
    name: "Record scored images",
    tooltip:
      "Writes prompt, settings, seed, scores and a small picture of every scored image into a database on the server. " +
      "Leaderboard and blind picks read it. Nothing leaves the machine.",
    type: "boolean",
    defaultValue: true,
    sortOrder: 50,
  },
  {
    id: "HPS.Ledger.MaxMegabytes",
    category: ["HPS", "Ledger", "MaxMegabytes"],
    name: "Size limit of the records (MB)",
    tooltip: "When it is reached, the oldest small pictures go first, then the oldest records.",
    type: "number",
    attrs: { min: 16, max: 4096, step: 16 },
    defaultValue: 256,
    sortOrder: 40,
  },
  {
    id: "HPS.Gallery.Badges",
    category: ["HPS", "Gallery", "Badges"],
    name: "Show ranks and scores over pictures",
    tooltip: "In the galleries on the nodes. Switch it off to look at the pictures alone.",
    type: "boolean",
    defaultValue: true,
    sortOrder: 30,
  },
  {
    id: "HPS.Gallery.Decimals",
    category: ["HPS", "Gallery", "Decimals"],
    name: "Decimals of scores",
    tooltip:
      "How many digits galleries and leaderboard show. A difference in the third digit says little about what people prefer.",
    type: "slider",
    attrs: { min: 2, max: 5, step: 1 },
    defaultValue: 2,
    sortOrder: 20,
  },
  {
    id: "HPS.Notices",
    category: ["HPS", "Messages", "Notices"],
    name: "Show notices",
    tooltip: "Short messages at the edge of the page: warnings of a scorer, full records, and what to do about it.",
    type: "boolean",
    defaultValue: true,
    sortOrder: 10,
  },
].map(heard);
