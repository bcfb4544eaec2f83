// Makes the tables of the zoo sortable: a button in each heading, numbers before words, empty cells last.
document.addEventListener("DOMContentLoaded", () => {
  if (!/\/pretrained\/(index\.html)?$/.test(location.pathname)) return;
  for (const table of document.querySelectorAll(".md-content table")) {
    const body = table.tBodies[0];
    const key = (row, column) => {
      const text = row.cells[column].textContent.trim();
      const number = parseFloat(text.replace(/,/g, ""));
      return { text, number, empty: text === "-" || text === "" };
    };
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      heading.setAttribute("aria-sort", "none");
      const button = document.createElement("button");
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const up = heading.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
        heading.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...body.rows].sort((a, b) => {
          const [one, other] = [key(a, column), key(b, column)];
          if (one.empty || other.empty) return one.empty - other.empty;
          const both = !Number.isNaN(one.number) && !Number.isNaN(other.number);
          const order = both ? one.number - other.number : one.text.localeCompare(other.text);
          return up ? order : -order;
        });
        body.append(...rows);
      });
    });
  }
});
