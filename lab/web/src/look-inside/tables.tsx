// Tables and messages, newest first, paged by key; the first page is live.
import { useState } from "preact/hooks";
import type { TableInfo } from "../contract";
import { readTable, readTables } from "../commands";
import { useFetched } from "./fetched";
import { Rows } from "./rows";

const LIMIT = 50;
const LIVE_MS = 1500;

export function TablesPage({ rest }: { rest: string[] }) {
  const list = useFetched("tables", null, readTables);
  if (list.error) return <p class="trouble">{list.error}</p>;
  if (list.data === null) return <p class="empty">Asking for the tables …</p>;
  const { tables } = list.data;
  const chosen = tables.find((table) => table.name === rest[0]) ?? tables.find((table) => table.name === "payments") ?? tables[0];
  if (!chosen) return <p class="empty">There is nothing to look at.</p>;
  return (
    <div class="inside">
      <TableLinks tables={tables} chosen={chosen} />
      <OneTable key={chosen.name} table={chosen} />
    </div>
  );
}

function TableLinks({ tables, chosen }: { tables: TableInfo[]; chosen: TableInfo }) {
  return (
    <nav class="shelf" aria-label="Tables and messages">
      <ul>
        {tables.map((table) => (
          <li key={table.name}>
            <a href={`#look-inside/tables/${table.name}`} aria-current={table.name === chosen.name ? "page" : undefined}>
              {table.title}
            </a>
          </li>
        ))}
      </ul>
    </nav>
  );
}

function OneTable({ table }: { table: TableInfo }) {
  const [contains, setContains] = useState("");
  /** Where the pages before this one began; empty on the first. */
  const [befores, setBefores] = useState<string[]>([]);
  const before = befores[befores.length - 1] ?? null;
  const filter = (text: string) => {
    setContains(text);
    setBefores([]);
  };
  const wanted = contains.trim();
  const page = useFetched(`${wanted} ${before ?? ""}`, before === null ? LIVE_MS : null, (signal) =>
    readTable(table.name, { before, limit: LIMIT, contains: wanted }, signal),
  );
  const next = page.stale ? null : (page.data?.next_before ?? null);
  return (
    <div class="inside-main">
      <div class="inside-head">
        <div>
          <h3>{table.title}</h3>
          <p class="quiet">{table.about}</p>
        </div>
        <label class="search">
          <span>An id or key, or how it begins</span>
          <input type="search" value={contains} spellcheck={false} autocomplete="off" onInput={(event) => filter(event.currentTarget.value)} />
        </label>
      </div>
      {page.error && <p class="trouble" role="alert">{page.error}</p>}
      {page.data === null ? !page.error && <p class="empty">Asking …</p> : <Rows title={table.title} page={page.data} stale={page.stale} filter={filter} wanted={wanted} />}
      <div class="pager">
        <button type="button" class="button plain" disabled={befores.length === 0} onClick={() => setBefores([])}>
          Newest
        </button>
        <button type="button" class="button plain" disabled={befores.length === 0} onClick={() => setBefores(befores.slice(0, -1))}>
          Newer
        </button>
        <button type="button" class="button plain" disabled={next === null} onClick={() => next !== null && setBefores([...befores, next])}>
          Older
        </button>
        <span class="quiet">{before === null ? "live" : `page ${befores.length + 1}, not live`}</span>
      </div>
    </div>
  );
}
