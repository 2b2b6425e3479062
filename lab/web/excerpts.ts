// The source code that the page shows, cut out of the repository's files while the page is built. A marker that is not there any more
// fails the build.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Plugin } from "vite";

/** The lines from the one that contains `from` to the next one that contains `to`; both markers are whole texts of the file. */
interface Cut {
  file: string;
  from: string;
  to: string;
}

export interface Excerpt {
  file: string;
  /** The number of the first line. */
  line: number;
  lines: string[];
}

const CUTS = {
  dualWrite: { file: "wallet-api/src/patterns/dual_write.rs", from: "    let accepted = debit(", to: "    Ok(accepted)\n}" },
  publishFirst: { file: "wallet-api/src/patterns/publish_first.rs", from: "    let would_be = ask(", to: "    debit(pool, request, Pattern::PublishFirst).await\n}" },
  outbox: { file: "wallet-api/src/payments.rs", from: "    // Sent together, carried out in this order.\n    try_join(", to: "    Ok(())\n}" },
  answer: { file: "wallet-api/src/http/pay_bill.rs", from: "fn respond(", to: "\n}" },
  command: { file: "wallet-api/src/patterns/listen_to_yourself.rs", from: "    let message = Message {", to: "    Ok(payment_id)\n}" },
  debit: { file: "wallet-api/src/patterns/listen_to_yourself.rs", from: "        let result = debit::take(", to: "        result.log_and_count();" },
  relay: { file: "relay/src/poller.rs", from: "        let events = self.read(now).await?;", to: "        publisher.forget(&sorted.published);" },
  provider: { file: "bill-payer/src/provider.rs", from: "    pub async fn pay(", to: "\n    }" },
  record: { file: "bill-payer/src/record.rs", from: "    let transaction = conn.transaction(async |conn| {", to: "    spans::within(span, transaction).await" },
  settle: { file: "wallet-api/src/settlement.rs", from: "    let seen = inbox::take(conn", to: "    apply(conn, first, letters, report).await" },
  table: { file: "migrations/outbox/2026-01-01-000000_outbox/up.sql", from: "create table outbox (", to: "    created_at timestamptz" },
  append: { file: "outbox/examples/orders.rs", from: "        let event = NewEvent {", to: "        append(conn, vec![event]).await" },
  drain: { file: "outbox/README.md", from: "async fn run_once(", to: "\n}" },
} satisfies Record<string, Cut>;

export type ExcerptName = keyof typeof CUTS;

export function cut(text: string, { file, from, to }: Cut): Excerpt {
  const at = text.indexOf(from);
  if (at < 0) throw new Error(`${file} has no ${JSON.stringify(from)} any more`);
  const end = text.indexOf(to, at);
  if (end < 0) throw new Error(`${file} has no ${JSON.stringify(to)} after ${JSON.stringify(from)} any more`);
  const first = text.lastIndexOf("\n", at) + 1;
  const last = text.indexOf("\n", end + to.length);
  const lines = text.slice(first, last < 0 ? undefined : last).split("\n");
  const indent = Math.min(...lines.filter((line) => line.trim() !== "").map((line) => line.length - line.trimStart().length));
  return { file, line: text.slice(0, first).split("\n").length, lines: lines.map((line) => line.slice(indent)) };
}

/** `import excerpts from "virtual:excerpts"`. */
export function excerpts(): Plugin {
  const name = "virtual:excerpts";
  return {
    name: "excerpts",
    resolveId: (id) => (id === name ? `\0${name}` : null),
    load(id) {
      if (id !== `\0${name}`) return null;
      const found = Object.entries(CUTS).map(([key, wanted]) => {
        const path = fileURLToPath(new URL(`../../${wanted.file}`, import.meta.url));
        this.addWatchFile(path);
        return [key, cut(readFileSync(path, "utf8"), wanted)];
      });
      return `export default ${JSON.stringify(Object.fromEntries(found))}`;
    },
  };
}
