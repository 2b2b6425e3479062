// The comparison as bars: one small chart a question, one bar a way of writing. Lengths compare within a chart only.
import type { ComparisonRow } from "../contract";
import { bytes, count, duration } from "../format";

interface Question {
  title: string;
  value: (row: ComparisonRow) => number | null;
  say: (value: number | null) => string;
  look: string;
}

const QUESTIONS: Question[] = [
  { title: "Payments lost", value: (row) => row.lost, say: count, look: "lost" },
  { title: "Duplicates absorbed", value: (row) => row.duplicates, say: count, look: "" },
  { title: "Answer, p99", value: (row) => row.p99_ms, say: duration, look: "" },
  { title: "Accepted to paid, p50", value: (row) => row.paid_p50_ms, say: duration, look: "" },
  { title: "Accepted to paid, p99", value: (row) => row.paid_p99_ms, say: duration, look: "" },
  { title: "Memory of the relays", value: (row) => row.memory_bytes, say: bytes, look: "" },
];

export function ComparisonBars({ rows }: { rows: ComparisonRow[] }) {
  const done = rows.filter((row) => row.state === "done");
  if (done.length === 0) return null;
  return (
    <div class="bars-grid">
      {QUESTIONS.map((question) => (
        <Bars key={question.title} question={question} rows={done} />
      ))}
    </div>
  );
}

function Bars({ question: { title, value, say, look }, rows }: { question: Question; rows: ComparisonRow[] }) {
  const most = Math.max(...rows.map((row) => value(row) ?? 0));
  return (
    <figure class="bars">
      <figcaption>{title}</figcaption>
      <dl>
        {rows.map((row) => {
          const own = value(row);
          const share = most > 0 ? (own ?? 0) / most : 0;
          return (
            <div key={row.arm}>
              <dt>{row.arm}</dt>
              <dd>
                <span class="track">
                  <span class={`bar ${look}`} style={{ width: `${share * 100}%` }} />
                </span>
                <span class="number">{say(own)}</span>
              </dd>
            </div>
          );
        })}
      </dl>
    </figure>
  );
}
