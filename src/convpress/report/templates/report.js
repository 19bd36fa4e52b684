"use strict";
// The page reads without this: tables learn to sort and filter, the still picture becomes an interactive one.
const order = (sign) => (a, b) => {
  if (a === "" || b === "") return (a === "") - (b === "");
  return sign * (a - b);
};
DataTable.type("measure", { order: { asc: order(1), desc: order(-1) } });

const FILTER_FROM = 6;
for (const table of document.querySelectorAll("main table")) {
  const rows = table.tBodies[0].rows.length;
  if (rows < 2) continue;
  const filter = rows >= FILTER_FROM;
  new DataTable(table, {
    autoWidth: false,
    paging: false,
    order: [],
    columnDefs: [{ targets: "number", type: "measure" }],
    layout: { topStart: filter ? "search" : null, topEnd: filter ? "info" : null, bottomStart: null, bottomEnd: null },
    language: {
      search: "Filter rows:",
      info: "_TOTAL_ rows",
      infoEmpty: "No rows",
      infoFiltered: "of _MAX_",
      zeroRecords: "No row has this text.",
    },
  });
  // Out of the box that scrolls: rows alone move under their header.
  const box = table.closest(".scroll");
  box.before(...box.querySelectorAll(".dt-layout-row:not(.dt-layout-table)"));
}

addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});

const holder = document.getElementById("pareto");
if (holder) {
  const specification = JSON.parse(document.getElementById("pareto-specification").textContent);
  // Vega knows the pointer only: focus moves it there.
  const show = (mark) => {
    const box = mark.getBoundingClientRect();
    const at = { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2, bubbles: true };
    mark.dispatchEvent(new PointerEvent("pointermove", at));
  };
  const hide = (mark) => mark.dispatchEvent(new MouseEvent("mouseout", { bubbles: true }));
  // Vega says the ends of an axis to ten digits; three are enough to be told.
  const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
  const shorten = (axis) => {
    const said = axis.getAttribute("aria-label");
    const short = said.replace(/[\d,]+\.\d{2,}/g, (number) => digits.format(Number(number.replaceAll(",", ""))));
    if (short !== said) axis.setAttribute("aria-label", short);
  };
  // The marks are one stop of the Tab key; arrow keys lead along the cost and along the accuracy.
  const place = (mark, axis) => mark.transform.baseVal[0]?.matrix[axis] ?? 0;
  const marks = (axis) =>
    [...holder.querySelectorAll("g.mark-symbol.role-mark path")].sort((a, b) => place(a, axis) - place(b, axis));
  const beside = (mark, axis, step) => {
    const all = marks(axis);
    return all[all.indexOf(mark) + step];
  };
  const MOVES = {
    ArrowLeft: (mark) => beside(mark, "e", -1),
    ArrowRight: (mark) => beside(mark, "e", 1),
    ArrowUp: (mark) => beside(mark, "f", -1),
    ArrowDown: (mark) => beside(mark, "f", 1),
    Home: () => marks("e")[0],
    End: () => marks("e").at(-1),
  };
  let stop = null;
  const prepare = () => {
    holder.querySelectorAll(".role-axis [aria-label], .role-axis[aria-label]").forEach(shorten);
    const all = marks("e");
    if (!all.includes(stop)) stop = all[0];
    for (const mark of all) mark.setAttribute("tabindex", mark === stop ? "0" : "-1");
  };
  holder.addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (!move || !event.target.matches("path") || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    move(event.target)?.focus();
  });
  holder.addEventListener("focusin", (event) => {
    if (!event.target.matches("path")) return;
    stop = event.target;
    prepare();
    show(stop);
  });
  holder.addEventListener("focusout", (event) => event.target.matches("path") && hide(event.target));
  document.addEventListener("scrollend", () => {
    const mark = holder.querySelector("path:focus");
    if (mark) show(mark);
  });
  document.addEventListener("keydown", (event) => {
    const mark = holder.querySelector("path:focus, path:hover");
    if (event.key === "Escape" && mark) hide(mark);
  });
  holder.closest("figure").classList.add("live");
  vegaEmbed(holder, specification, { actions: false, ast: true, renderer: "svg", bind: "#pareto-choices" })
    .then(() => {
      prepare();
      new MutationObserver(prepare).observe(holder, { childList: true, subtree: true, attributeFilter: ["aria-label"] });
    })
    .catch((error) => {
      holder.closest("figure").classList.remove("live");
      console.error(error);
    });
}
