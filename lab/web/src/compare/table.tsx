// The comparison in figures.
import type { ComparisonRow } from "../contract";
import { bytes, count, duration } from "../format";

export function ComparisonTable({ rows }: { rows: ComparisonRow[] }) {
  return (
    <div class="scroller" tabIndex={0} role="region" aria-label="Comparison in figures">
      <table class="table">
        <thead>
          <tr>
            <th scope="col">way of writing</th>
            {COLUMNS.map(({ title, about }) => (
              <th key={title} scope="col" class="number" title={about}>
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.arm} class={row.state}>
              <th scope="row">
                {row.arm}
                <small>{row.state === "done" ? "" : row.error ?? row.state}</small>
              </th>
              {COLUMNS.map(({ title, cell, wrong }) => (
                <td key={title} class={`number ${wrong?.(row) ? "found" : ""}`}>
                  {row.state === "waiting" ? "" : cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface FigureColumn {
  title: string;
  about: string;
  cell: (row: ComparisonRow) => string;
  wrong?: (row: ComparisonRow) => boolean;
}

/** What it is about comes first: a phone shows one or two. */
const COLUMNS: FigureColumn[] = [
  { title: "LOST", about: "debited, never to be paid", cell: (row) => marked(row.lost), wrong: (row) => row.lost > 0 },
  { title: "accepted", about: "payments on record, also those whose client got no answer", cell: (row) => count(row.accepted) },
  { title: "paid", about: "the provider has the money, once", cell: (row) => count(row.paid) },
  { title: "refunded", about: "the wallet got it back", cell: (row) => count(row.refunded) },
  { title: "PAID TWICE", about: "taken more than once", cell: (row) => marked(row.paid_twice), wrong: (row) => row.paid_twice > 0 },
  { title: "duplicates", about: "events that came again, and were absorbed", cell: (row) => count(row.duplicates) },
  { title: "answer p50", about: "POST pay-bill, as the client saw it", cell: (row) => duration(row.p50_ms) },
  { title: "p90", about: "POST pay-bill, as the client saw it", cell: (row) => duration(row.p90_ms) },
  { title: "p99", about: "POST pay-bill, as the client saw it", cell: (row) => duration(row.p99_ms) },
  { title: "paid p50", about: "from accepted to paid", cell: (row) => duration(row.paid_p50_ms) },
  { title: "paid p99", about: "from accepted to paid", cell: (row) => duration(row.paid_p99_ms) },
  { title: "memory", about: "of the relays, and Kafka Connect", cell: (row) => bytes(row.memory_bytes) },
  { title: "took", about: "the whole run", cell: (row) => duration(row.took_ms) },
];

function marked(n: number): string {
  return n > 0 ? `✕ ${count(n)}` : count(n);
}
