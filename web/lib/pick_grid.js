// @ts-check
// A blind pick among the pictures of a gallery, on a floating card.
import { t, toast } from "./host.js";
import { Floating } from "./floating.js";
import { PickCard, loadPictures } from "./pick_card.js";

const MOST = 9;

/** @type {Floating | null} */
let open = null;

/**
 * @template T
 * @param {readonly T[]} values
 * @returns {T[]} in random order, each order equally likely
 */
export function shuffled(values) {
  const all = [...values];
  for (let at = all.length - 1; at > 0; at -= 1) {
    const other = below(at + 1);
    [all[at], all[other]] = [all[other], all[at]];
  }
  return all;
}

/** @param {number} limit @returns {number} random, from 0, without favouring small ones */
function below(limit) {
  const word = new Uint32Array(1);
  const fair = 2 ** 32 - (2 ** 32 % limit);
  do crypto.getRandomValues(word);
  while (word[0] >= fair);
  return word[0] % limit;
}

/**
 * Ask which of these pictures is the best, in random order and without their scores. Of more than nine, nine are drawn.
 * @param {number[]} entries rows of the ledger
 * @param {string} [prompt] to be shown with them
 */
export async function startBlindGrid(entries, prompt = "") {
  const rows = [...new Set(entries.filter((id) => Number.isSafeInteger(id) && id > 0))];
  if (rows.length < 2) {
    toast(
      "warn",
      t("picks.tooFew", "It takes two pictures to compare"),
      t(
        "picks.tooFewHow",
        "Only pictures in the ledger count: switch it on in Settings, HPS, and run the workflow again.",
      ),
    );
    return;
  }
  open?.close();
  const ids = shuffled(rows).slice(0, MOST);
  const title = t("picks.title", "Blind pick");
  let closed = false;
  const float = (open = new Floating(title, "hps-pick-float", () => {
    closed = true;
    card.destroy();
    if (open === float) open = null;
  }));
  const close = () => float.close();
  const card = new PickCard({ onAnswered: () => {}, onNext: close, onLeave: close, next: t("picks.close", "Close") });
  float.body.append(card.element);
  card.wait(t("picks.loading", "Loading the pictures\u2026"));
  float.centre();
  try {
    const images = await loadPictures(ids);
    if (closed) return;
    const note =
      rows.length > MOST
        ? t("picks.drawn", "{n} of {all} pictures, drawn at random.", { n: MOST, all: rows.length })
        : "";
    card.show({ ids, kind: ids.length === 2 ? "pair" : "grid", prompt, images }, note);
    float.centre();
    card.element.focus({ preventScroll: true });
  } catch {
    if (closed) return;
    close();
    toast(
      "warn",
      t("picks.lost", "A picture could not be loaded"),
      t("picks.lostGrid", "It was not saved, or the server is gone. Run the workflow again."),
    );
  }
}
