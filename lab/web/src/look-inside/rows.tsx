// The rows of one page. Ids are shortened; a payment's leads to its trace, any other filters by it.
import type { Cell, Column, TablePage } from "../contract";
import { clockMs, count, shortId } from "../format";
import { traceLink } from "../state/route";

interface Props {
  title: string;
  page: TablePage;
  stale: boolean;
  wanted: string;
  filter: (text: string) => void;
}

export function Rows({ title, page: { columns, rows }, stale, wanted, filter }: Props) {
  if (rows.length === 0) return <p class="empty">{wanted === "" ? "Empty." : `Nothing here is, or begins with, “${wanted}”.`}</p>;
  return (
    <div class="scroller" tabIndex={0} role="region" aria-label={title} aria-busy={stale}>
      <table class="table">
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.name} scope="col" class={alignment(column)}>
                {column.name.replaceAll("_", " ")}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={JSON.stringify(row.slice(0, 4))}>
              {columns.map((column, i) => (
                <td key={column.name} class={alignment(column)}>
                  <CellContent column={column} cell={row[i] ?? null} filter={filter} />
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function alignment({ kind }: Column): string {
  return kind === "amount" || kind === "number" ? "number" : "";
}

function Moment({ at }: { at: number }) {
  const date = new Date(at);
  return (
    <time dateTime={date.toISOString()} title={date.toLocaleString("en-GB")}>
      {clockMs(at)}
    </time>
  );
}

function CellContent({ column, cell, filter }: { column: Column; cell: Cell; filter: (text: string) => void }) {
  if (cell === null || cell === "") return <span class="quiet">–</span>;
  switch (column.kind) {
    case "id":
      return <Id column={column.name} id={String(cell)} filter={filter} />;
    case "time":
      return <Moment at={typeof cell === "number" ? cell : Date.parse(String(cell))} />;
    case "number":
      return <>{typeof cell === "number" ? count(cell) : String(cell)}</>;
    case "json":
      return <Json value={cell} />;
    default:
      return <>{typeof cell === "object" ? JSON.stringify(cell) : String(cell)}</>;
  }
}

function Id({ column, id, filter }: { column: string; id: string; filter: (text: string) => void }) {
  if (column === "payment_id") {
    return (
      <a class="id" href={traceLink(id)} title={`Trace ${id}`}>
        {shortId(id)}
      </a>
    );
  }
  return (
    <button type="button" class="id" title={`Show only ${id}`} onClick={() => filter(id)}>
      {shortId(id)}
    </button>
  );
}

/** One line, which opens to the whole. */
function Json({ value }: { value: Cell }) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const whole = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return (
    <details class="json">
      <summary>
        <code>{text.length > 60 ? `${text.slice(0, 60)}…` : text}</code>
      </summary>
      <pre>{whole}</pre>
    </details>
  );
}
