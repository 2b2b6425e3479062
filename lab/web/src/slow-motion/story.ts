// What each step is called, what it means, and which line of the source it is. Pure.
import type { Pattern, SlowMotion, SlowStep } from "../contract";
import type { ExcerptName } from "../../excerpts";
import { MEANING } from "../state/verdict";

export interface Scene {
  title: string;
  text: string;
  code: ExcerptName;
  /** A part of the line that is carried out; it is in the excerpt once. */
  line: string | null;
}

export const PATTERNS: { value: Pattern; title: string; about: string }[] = [
  { value: "dual-write", title: "dual-write", about: "wallet-api debits the wallet, then publishes the event." },
  { value: "publish-first", title: "publish-first", about: "wallet-api publishes the event, then debits the wallet." },
  { value: "outbox", title: "outbox", about: "wallet-api debits the wallet and stores the event in one transaction; a relay publishes it." },
  { value: "listen-to-yourself", title: "listen-to-yourself", about: "wallet-api publishes a command, and debits the wallet when the command comes back." },
];

const OWN_CODE: Record<Pattern, ExcerptName> = { "dual-write": "dualWrite", "publish-first": "publishFirst", outbox: "outbox", "listen-to-yourself": "command" };

const FIRST_WRITE: Record<Pattern, Scene> = {
  "dual-write": {
    title: "The first write: the debit",
    text: "wallet-api has committed the debit in PostgreSQL. The event is nowhere yet but in the memory of this process.",
    code: "dualWrite",
    line: "let accepted = debit(",
  },
  "publish-first": {
    title: "The first write: the event",
    text: "Kafka has the event. No wallet is debited yet, and PostgreSQL has no payment.",
    code: "publishFirst",
    line: ".publish(&Message::event(event))",
  },
  outbox: {
    title: "One write: the debit and the event",
    text: "One transaction has committed the debit, the payment and the event, which is a row of the outbox. PostgreSQL has all of them or none.",
    code: "outbox",
    line: "outbox::append(conn, events).await?;",
  },
  "listen-to-yourself": {
    title: "One write: a command",
    text: "wallet-api has published a command and responds “accepted”. Nobody has looked at the wallet yet.",
    code: "command",
    line: "publisher.publish(&message).await",
  },
};

const REST: Record<Exclude<Pattern, "listen-to-yourself">, Scene> = {
  "dual-write": {
    title: "The second write: the event",
    text: "Kafka has the event, and the client has its response. This time the process did not die in between.",
    code: "dualWrite",
    line: ".publish(&Message::event(event))",
  },
  "publish-first": {
    title: "The second write: the debit",
    text: "The wallet is debited, and the client has its response. This time the process did not die in between.",
    code: "publishFirst",
    line: "    debit(pool, request, Pattern::PublishFirst).await",
  },
  outbox: {
    title: "The client gets its response",
    text: "202, pending. The event waits in the outbox until a relay takes it.",
    code: "answer",
    line: "StatusCode::ACCEPTED",
  },
};

type Common = Exclude<SlowStep, "begin" | "first_write" | "rest" | "restart" | "again" | "audit">;

const COMMON: Record<Common, Scene> = {
  debit: {
    title: "wallet-api takes its own command",
    text: "Its consumer has debited the wallet and then published the event. A command that comes again debits nothing twice, and its event has the same id.",
    code: "debit",
    line: "let result = debit::take(",
  },
  relay: {
    title: "The relay publishes the event",
    text: "The relay has read the row, published it, waited for Kafka’s acknowledgement, and only then deleted the row.",
    code: "relay",
    line: "publisher.publish(&self.epoch, &events, stop).await;",
  },
  pay: {
    title: "The provider takes the money",
    text: "bill-payer has taken the event: a bill. The provider has taken the money. Its response is still on the way, so bill-payer does not know yet.",
    code: "provider",
    line: '.header("idempotency-key"',
  },
  record: {
    title: "bill-payer writes the result down",
    text: "The bill is paid, and the result is a row of bill-payer’s own outbox: one transaction again.",
    code: "record",
    line: "outbox::append(conn, events).await?;",
  },
  report: {
    title: "The relay publishes the result",
    text: "Kafka has the result. wallet-api has not taken it yet, so the payment is still pending.",
    code: "relay",
    line: "publisher.publish(&self.epoch, &events, stop).await;",
  },
  settle: {
    title: "wallet-api settles the payment",
    text: "wallet-api has taken the result, once. The payment is paid.",
    code: "settle",
    line: "inbox::take(conn",
  },
};

/** The scene of a snapshot. */
export function scene(now: SlowMotion): Scene {
  const own = { code: OWN_CODE[now.pattern], line: null };
  if (now.step === "restart") return { ...own, title: `The lab has started ${named(now.killed)} again`, text: restarted(now), ...codeOf(now.crashed, now.pattern) };
  if (now.step === "again") return { ...own, title: "The client asks again, with the same key", text: again(now) };
  if (now.step === "audit") return { ...own, title: verdictOf(now).title, text: verdictOf(now).text };
  if (now.crashed) return { ...own, title: `kill -9 ${named(now.killed)}`, text: died(now.crashed, now.pattern), ...codeOf(now.crashed, now.pattern) };
  return planned(now.step, now.pattern);
}

/** The scene of a step that is not part of an accident. */
export function planned(step: SlowStep, pattern: Pattern): Scene {
  switch (step) {
    case "first_write":
      return FIRST_WRITE[pattern];
    case "rest":
      return pattern === "listen-to-yourself" ? FIRST_WRITE[pattern] : REST[pattern];
    case "begin":
    case "restart":
    case "again":
    case "audit":
      return {
        title: "Nothing has happened yet",
        text: "A wallet holds 10.00 INR, and a client is about to pay a bill of 1.00 from it. The relays and bill-payer are paused until their step comes.",
        code: OWN_CODE[pattern],
        line: null,
      };
    default:
      return COMMON[step];
  }
}

function codeOf(step: SlowStep | null, pattern: Pattern): Pick<Scene, "code" | "line"> {
  const { code, line } = planned(step ?? "begin", pattern);
  return { code, line };
}

function named(processes: string[]): string {
  return processes.join(" and ");
}

function died(prevented: SlowStep, pattern: Pattern): string {
  switch (prevented) {
    case "rest":
      if (pattern === "dual-write") return "The process died between its two writes. The wallet is debited, and the event died with the process.";
      if (pattern === "publish-first") return "The process died between its two writes. Kafka has the event, and the debit never came.";
      return "The process died before it could respond. The debit and the event are committed.";
    case "debit":
      return "The process died before it took the command. The command waits in Kafka.";
    case "relay":
      return "Both relays died before they published. The row waits in the outbox.";
    case "pay":
      return "bill-payer died before it took the event. The event waits in Kafka.";
    case "record":
      return "bill-payer died after the provider had taken the money, and before it knew. The bill still counts as unpaid.";
    case "report":
      return "The relay died before it published. The result waits in bill-payer’s outbox.";
    default:
      return "wallet-api died before it took the result. The result waits in Kafka.";
  }
}

function restarted(now: SlowMotion): string {
  switch (now.crashed) {
    case "rest":
      if (now.pattern === "outbox") return "It has nothing to repair: the event is in the outbox, whoever lives.";
      return `It knows of nothing to repair. Lines about this payment in the logs of all services: ${now.log_lines?.length ?? 0}.`;
    case "debit":
      return "Its consumer took the command from Kafka, debited the wallet and published the event.";
    case "relay":
      return "A relay found the row, published it and deleted it.";
    case "pay":
      return "It took the event from Kafka, and paid.";
    case "record":
      return "When its claim of the bill had expired, it asked the provider again under the same key. The provider took the money once.";
    case "report":
      return "It found the row, published it and deleted it, and wallet-api took the result.";
    default:
      return "It took the result from Kafka. The payment is paid.";
  }
}

function again(now: SlowMotion): string {
  if (now.response?.status !== 202) return "It got no response.";
  if (now.pattern === "dual-write") return "The key is known, so wallet-api responds as it would have before: pending. It publishes nothing.";
  return "The key is known, so wallet-api responds as it would have before: pending. Nothing is debited twice.";
}

/** The words of the audit first: they are those of the terminal. */
export function verdictOf(now: SlowMotion): { title: string; text: string; sign: "good" | "lost" | "open" } {
  const { findings = [], outcome = null, status = null } = now.verdict ?? {};
  const words = findings.join(", ");
  if (findings.includes("LOST")) {
    return { sign: "lost", title: `The audit: ${words}`, text: "The wallet was debited, and nobody will ever pay the bill. No log says so, and no retry of the client helps." };
  }
  if (findings.includes("AT PROVIDER, NOT HERE")) {
    return { sign: "lost", title: `The audit: ${words}`, text: "The bill is paid, and nobody was charged. wallet-api does not know the payment: its result became a dead letter." };
  }
  if (findings.length > 0) {
    return { sign: outcome === "money_lost" ? "lost" : "open", title: `The audit: ${words}`, text: findings.map((kind) => MEANING[kind] ?? kind).join(" ") };
  }
  if (status === "paid") return { sign: "good", title: "The audit: nothing is wrong", text: "The payment is paid, once: the wallet was debited once, and the provider has the money once." };
  return { sign: "open", title: "The audit: still on its way", text: `The payment is ${status ?? "not known yet"}.` };
}

/** What the button for the next step says. */
export function nextLabel(now: SlowMotion): string {
  switch (now.next) {
    case null:
      return "The end";
    case "restart":
      return `Start ${named(now.killed)} again`;
    case "again":
      return "Ask again with the same key";
    case "audit":
      return "Ask the audit";
    default:
      return `Next: ${planned(now.next, now.pattern).title.toLowerCase().replace("postgresql", "PostgreSQL").replace("kafka", "Kafka")}`;
  }
}
