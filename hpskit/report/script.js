"use strict";
// Sorting by column, pictures enlarged on a click, and a switch between light and dark. Without this script the report is complete, only still.
(() => {
  const value = (row, column) => row.cells[column].dataset.sort;

  const compare = (numeric, sign) => (a, b) => {
    if (a.key === "" || b.key === "") return (a.key === "") - (b.key === "") || a.order - b.order;
    const gap = numeric ? Number(a.key) - Number(b.key) : a.key.localeCompare(b.key, undefined, { numeric: true });
    return sign * gap || a.order - b.order;
  };

  for (const table of document.querySelectorAll("table:not(.still)")) {
    const heads = [...table.tHead.rows[0].cells];
    const body = table.tBodies[0];
    heads.forEach((head, column) => {
      const numeric = head.classList.contains("number");
      head.firstElementChild.addEventListener("click", () => {
        const first = numeric ? "descending" : "ascending";
        const other = numeric ? "ascending" : "descending";
        const next = head.getAttribute("aria-sort") === first ? other : first;
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", next);
        const rows = [...body.rows].map((row, order) => ({ row, order, key: value(row, column) }));
        rows.sort(compare(numeric, next === "ascending" ? 1 : -1));
        body.append(...rows.map((each) => each.row));
      });
    });
  }

  const dialog = document.body.appendChild(document.createElement("dialog"));
  const enlarge = (image) => {
    const words = document.createElement("p");
    words.textContent = image.alt;
    const copy = image.cloneNode();
    ["role", "tabindex", "loading"].forEach((name) => copy.removeAttribute(name));
    dialog.replaceChildren(copy, words);
    dialog.showModal();
  };
  dialog.addEventListener("click", () => dialog.close());
  for (const image of document.querySelectorAll(".frame img")) {
    image.setAttribute("role", "button");
    image.tabIndex = 0;
    image.addEventListener("click", () => enlarge(image));
    image.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      enlarge(image);
    });
  }

  const root = document.documentElement;
  const button = document.querySelector("button.theme");
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const label = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    label();
  });
  system.addEventListener("change", label);
  label();
})();
