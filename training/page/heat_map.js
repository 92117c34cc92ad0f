// Say in words what the cell under the pointer, finger or focus shows; the arrow keys move between cells.
// Gradio runs this once, with `element`, in which each new heat map replaces the one before.
const cellOf = (target) => target.closest(".sf-heat tbody td");
const rowsOf = (cell) => cell.closest("tbody").rows;

const show = (cell) => {
  const table = cell.closest("table");
  const query = cell.parentNode.cells[0];
  const key = table.tHead.rows[0].cells[cell.cellIndex];
  for (const marked of table.querySelectorAll(".sf-marked")) marked.classList.remove("sf-marked");
  query.classList.add("sf-marked");
  key.classList.add("sf-marked");
  const reading = cell.closest("figure").querySelector(".sf-reading");
  reading.textContent = `${query.textContent} attends to ${key.textContent}: ${cell.textContent}`;
};

const focus = (cell) => {
  for (const other of cell.closest("table").querySelectorAll("td[tabindex]")) other.removeAttribute("tabindex");
  cell.tabIndex = 0;
  cell.focus();
};

// One cell can be reached with Tab; the keys lead on from there.
const prepare = () => {
  const first = element.querySelector(".sf-heat tbody td");
  if (first && !element.querySelector("td[tabindex]")) first.tabIndex = 0;
};

const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

element.addEventListener("pointerover", (event) => { const cell = cellOf(event.target); if (cell) show(cell); });
element.addEventListener("click", (event) => { const cell = cellOf(event.target); if (cell) focus(cell); });
element.addEventListener("focusin", (event) => { const cell = cellOf(event.target); if (cell) show(cell); });
element.addEventListener("keydown", (event) => {
  const cell = cellOf(event.target);
  const move = MOVES[event.key];
  if (!cell || !move) return;
  event.preventDefault();
  const row = rowsOf(cell)[cell.parentNode.sectionRowIndex + move[0]];
  const next = row && row.cells[cell.cellIndex + move[1]];
  if (next && next.tagName === "TD") focus(next);
});
watch("value", prepare);
prepare();
