for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement, table = head.closest("table");
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = row => row.cells[head.cellIndex].dataset.value ?? row.cells[head.cellIndex].textContent.trim();
    const compare = (one, other) => {
      const [a, b] = [value(one), value(other)];
      if (!a || !b) return (a ? 0 : 1) - (b ? 0 : 1);
      const difference = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
      return up ? difference : -difference;
    };
    const rows = [...table.rows].slice(1).sort(compare);
    rows.forEach(row => row.parentElement.append(row));
  });
}
