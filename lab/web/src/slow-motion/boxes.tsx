// What is there now: rows in PostgreSQL, records in Kafka, the receipt at the provider. What the last step has written is marked.
import type { ComponentChildren } from "preact";
import type { KafkaRecord, OutboxRow, SlowMotion } from "../contract";
import { shortId } from "../format";

interface Fact {
  name: string;
  /** Each a line: what identifies it, and what it says. */
  lines: { key: string; text: string }[];
}

export function Boxes({ now, before }: { now: SlowMotion; before: SlowMotion | null }) {
  const of = (snapshot: SlowMotion | null) => (snapshot ? factsOf(snapshot) : []);
  const old = new Set(of(before).flatMap((fact) => fact.lines.map((line) => `${fact.name} ${line.key} ${line.text}`)));
  const facts = of(now);
  const box = (title: string, names: string[]) => (
    <Box title={title}>
      {facts
        .filter((fact) => names.includes(fact.name))
        .map((fact) => (
          <div key={fact.name} data-fact={fact.name}>
            <dt>{fact.name}</dt>
            {fact.lines.length === 0 && <dd class="none">none</dd>}
            {fact.lines.map((line) => (
              <dd key={line.key} class={before && !old.has(`${fact.name} ${line.key} ${line.text}`) ? "new" : undefined}>
                {line.text}
              </dd>
            ))}
          </div>
        ))}
    </Box>
  );
  return (
    <div class="slow-boxes">
      {box("The client", ["response"])}
      {box("PostgreSQL", ["wallets", "payments", "outbox", "bills", "bill-payer’s outbox", "dead letters"])}
      {box("Kafka", ["wallet.commands", "wallet.events", "bill.events"])}
      {box("The provider", ["receipt"])}
    </div>
  );
}

function Box({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <section class="slow-box" aria-label={title}>
      <h4>{title}</h4>
      <dl>{children}</dl>
    </section>
  );
}

function factsOf({ facts, response, waiting, pattern }: SlowMotion): Fact[] {
  const one = (name: string, key: string | null | undefined, text: string): Fact => ({ name, lines: key ? [{ key, text }] : [] });
  const { wallet, payment, bill, receipt } = facts;
  const all = [
    one("response", waiting ? "waiting" : response ? "response" : null, waiting ? "waits for it" : responseText(response)),
    one("wallets", wallet.id, `balance ${wallet.balance} ${wallet.currency}`),
    one("payments", payment?.payment_id, `${shortId(payment?.payment_id ?? "")}  ${payment?.amount} ${payment?.status}`),
    { name: "outbox", lines: facts.outbox.map(row) },
    one("bills", bill?.payment_id, `${shortId(bill?.payment_id ?? "")}  ${bill?.amount} ${bill?.status}`),
    { name: "bill-payer’s outbox", lines: facts.bill_outbox.map(row) },
    { name: "dead letters", lines: facts.dead_letters.map(({ id, topic, status }) => ({ key: String(id), text: `${topic}: ${status}` })) },
    { name: "wallet.commands", lines: facts.commands.map(record) },
    { name: "wallet.events", lines: facts.events.map(record) },
    { name: "bill.events", lines: facts.results.map(record) },
    one("receipt", receipt?.reference, `${shortId(receipt?.receipt ?? receipt?.status ?? "")}  ${receipt?.amount} ${receipt?.currency}`),
  ];
  // What only some payments have is shown by those.
  const rare = ["dead letters", ...(pattern === "listen-to-yourself" ? [] : ["wallet.commands"])];
  return all.filter((fact) => fact.lines.length > 0 || !rare.includes(fact.name));
}

function row({ seq, type }: OutboxRow) {
  return { key: String(seq), text: `seq ${seq}  ${type}` };
}

function record({ partition, offset, type }: KafkaRecord) {
  return { key: `${partition}:${offset}`, text: `${partition}@${offset}  ${type}` };
}

function responseText(response: SlowMotion["response"]): string {
  if (!response) return "";
  if (response.status === null) return "none: the connection broke";
  return `${response.status} ${response.body?.status ?? ""}${response.replayed ? " (as before)" : ""}`;
}
