// The tab HPS of AUTOMATIC1111 and Forge: opening it shows what is new, and a row of the leaderboard is chosen by a click.
(function () {
    "use strict";

    const find = (name) => gradioApp().querySelector(`#${name}`);

    function refresh() {
        const open = [["hps_board_show", "hps_board_again"], ["hps_models_refresh", "hps_models_refresh"]]
            .find(([seen]) => find(seen)?.offsetParent);
        if (open) find(open[1])?.click();
    }

    function choose(row) {
        const field = find("hps_board_clicked")?.querySelector("textarea, input");
        if (!field) return;
        for (const other of row.parentElement.children) other.classList.toggle("hps-chosen", other === row);
        field.value = row.dataset.row;
        updateInput(field);
    }

    function rowOf(event) {
        return event.target instanceof Element ? event.target.closest("#hps_board_rows tr[data-row]") : null;
    }

    onUiTabChange(() => setTimeout(refresh, 100));
    document.addEventListener("click", (event) => {
        const row = rowOf(event);
        if (row && !String(window.getSelection())) choose(row);
    });
    document.addEventListener("keydown", (event) => {
        const row = event.key === "Enter" || event.key === " " ? rowOf(event) : null;
        if (!row) return;
        event.preventDefault();
        choose(row);
    });
})();
