// @ts-check
// Numbers, times and settings as a person reads them.
import { locale, setting, t } from "./host.js";

const NONE = "\u2013";
const UNITS = /** @type {[Intl.RelativeTimeFormatUnit, number][]} */ ([
  ["year", 31_557_600], ["month", 2_629_800], ["week", 604_800], ["day", 86_400], ["hour", 3600], ["minute", 60],
]);

/** @param {() => string} write @param {string} otherwise when the host's locale is not one that the browser knows */
function inLocale(write, otherwise) {
  try {
    return write();
  } catch {
    return otherwise;
  }
}

/** @param {number} value @param {number} [digits] @returns {string} "1,234.5" in the person's language */
export function number(value, digits = 0) {
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return inLocale(() => value.toLocaleString(locale(), options), value.toFixed(digits));
}

/** @param {number | null | undefined} score @returns {string} with the decimals that the settings ask for */
export function scoreText(score) {
  const digits = Number(setting("HPS.Gallery.Decimals", 2));
  return typeof score === "number" ? score.toFixed(Math.min(5, Math.max(2, Math.round(digits) || 2))) : NONE;
}

/** @param {number} value @param {number} [digits] @returns {string} with its sign, so that a gain looks like one */
export function signed(value, digits = 1) {
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return text;
  return (value < 0 ? "\u2212" : "+") + text;
}

/** @param {number | null} standing @returns {string} "+1.2 sd" */
export function standingText(standing) {
  return standing === null ? NONE : t("board.sd", "{value} sd", { value: signed(standing) });
}

/** @param {{standing: number | null, group: {n: number}}} row @returns {string} its standing in a whole sentence */
export function standingTip({ standing, group: { n } }) {
  if (standing === null) {
    return t("board.alone", "It takes two pictures of one prompt, scored alike, to tell how this one stands");
  }
  const values = { value: Math.abs(standing).toFixed(1), n: number(n) };
  if (Number(values.value) === 0) {
    return t("board.level", "At the average of the {n} pictures of this prompt by this scorer", values);
  }
  if (standing < 0) {
    return t(
      "board.below",
      "{value} standard deviations below the average of the {n} pictures of this prompt by this scorer",
      values,
    );
  }
  return t(
    "board.above",
    "{value} standard deviations above the average of the {n} pictures of this prompt by this scorer",
    values,
  );
}

/** @type {Map<string, Intl.RelativeTimeFormat>} one for each language: they are slow to make */
const relative = new Map();

/** @param {number} count @param {Intl.RelativeTimeFormatUnit} unit */
function before(count, unit) {
  const language = locale();
  const known = relative.get(language) ?? new Intl.RelativeTimeFormat(language, { style: "narrow", numeric: "always" });
  relative.set(language, known);
  return known.format(-count, unit);
}

/** @param {number} time Unix seconds @param {number} [now] @returns {string} "2 hours ago", short */
export function ago(time, now = Date.now() / 1000) {
  const seconds = Math.max(0, now - time);
  const [unit, size] = UNITS.find(([, length]) => seconds >= length) ?? ["minute", 60];
  const count = Math.floor(seconds / size);
  if (count === 0) return t("time.now", "just now");
  return inLocale(() => before(count, unit), `-${count} ${unit}`);
}

/** @param {number} time Unix seconds @returns {string} the full date and time */
export function when(time) {
  const date = new Date(time * 1000);
  return inLocale(() => date.toLocaleString(locale()), date.toISOString());
}

/** @param {number} bytes @returns {string} "12.3 MB" */
export function megabytes(bytes) {
  return `${number(bytes / 2 ** 20, bytes < 100 * 2 ** 20 ? 1 : 0)} MB`;
}

/** @param {number} share 0 to 1 @returns {string} "67 %" */
export function percent(share) {
  return inLocale(
    () => share.toLocaleString(locale(), { style: "percent", maximumFractionDigits: 0 }),
    `${Math.round(share * 100)} %`,
  );
}

/** @param {{sampler: string, steps: number | null, cfg: number | null}} row @returns {string} "euler, 20, cfg 7" */
export function settingsText({ sampler, steps, cfg }) {
  const parts = [sampler];
  if (steps !== null) parts.push(t("board.stepsOf", "steps {n}", { n: steps }));
  if (cfg !== null) parts.push(t("board.cfgOf", "cfg {value}", { value: String(Number(cfg.toFixed(2))) }));
  // A number stays with its name where a line is broken.
  const whole = parts.filter(Boolean).map((part) => part.replaceAll(" ", "\u00a0"));
  return whole.join(" \u00b7 ") || NONE;
}

/** @param {string} model path or name @returns {string} without folders and the ending */
export function modelText(model) {
  return model.replace(/^.*[/\\]/, "").replace(/\.(safetensors|ckpt|sft|gguf|pt|pth)$/i, "");
}

/** @param {string} text @param {number} length @returns {string} one line, cut where it is too long */
export function oneLine(text, length) {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > length ? `${line.slice(0, length - 1).trimEnd()}\u2026` : line;
}
