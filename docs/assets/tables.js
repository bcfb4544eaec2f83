// Figures stay on one line. The table of the zoo can be sorted and filtered: a button in each heading, numbers before words, empty
// cells last.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search"); // the theme's dialog has no name
  for (const cell of document.querySelectorAll(".md-content td")) {
    if (/^[-−+]?(any x )*[\d.,]+( x \d+)*( ?[%×]| [a-zA-Z]{1,3})?$/.test(cell.textContent.trim())) cell.classList.add("figure");
  }
  if (!/\/pretrained\/(index\.html)?$/.test(location.pathname)) return;
  const key = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const sizes = text.split(" x ").filter((size) => size !== "any");
    const number = sizes.map((size) => parseFloat(size.replace(/,/g, ""))).reduce((one, other) => one * other, 1);
    return { text, number, empty: text === "-" || text === "" };
  };
  const sortBy = (table, heading, column) => {
    const headings = [...table.tHead.rows[0].cells];
    const up = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of headings) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [one, other] = [key(a, column), key(b, column)];
      if (one.empty || other.empty) return one.empty - other.empty;
      const both = !Number.isNaN(one.number) && !Number.isNaN(other.number);
      const order = both ? one.number - other.number : one.text.localeCompare(other.text);
      return up ? order : -order;
    });
    table.tBodies[0].append(...rows);
  };
  for (const table of document.querySelectorAll(".md-content table")) {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      heading.setAttribute("aria-sort", "none");
      const button = document.createElement("button");
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => sortBy(table, heading, column));
    });
    const label = document.createElement("label");
    label.className = "filter";
    label.textContent = "Show only rows with";
    const field = document.createElement("input");
    field.type = "search";
    field.placeholder = "mnist, detector, MIT ...";
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/);
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
    });
    label.append(field);
    (table.closest(".wide-table") ?? table).before(label);
  }
});
