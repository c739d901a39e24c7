/**
 * Runs in the page: a click on a column's head sorts by it, a second one the other way round. Numbers are compared as
 * numbers, from what a cell's `data-number` says; cells without a value stand last.
 */
export const SORTING = `
for (const table of document.querySelectorAll('table')) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector('button').addEventListener('click', () => {
    const down = head.getAttribute('aria-sort') === 'ascending';
    for (const other of heads) other.removeAttribute('aria-sort');
    head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const numeric = head.classList.contains('number');
    const value = (row) => numeric ? row.cells[column].dataset.number : row.cells[column].textContent;
    const compare = (a, b) => numeric ? a - b : a.localeCompare(b, undefined, { numeric: true });
    const rows = [...body.rows].sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return (down ? -1 : 1) * compare(a, b);
    });
    body.append(...rows);
  }));
}
`;
