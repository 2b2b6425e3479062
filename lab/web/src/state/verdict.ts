// What the audit says, as one sentence and one sign. Pure.
import type { Finding, Money, Outcome, Run } from "../contract";
import { count, plural } from "../format";

/** good: proven; bad: money is lost; trouble: wrong, but no money is lost; open: not known yet. */
export type Sign = (typeof SIGNS)[number];
export const SIGNS = ["good", "bad", "trouble", "open"] as const;

export interface Verdict {
  sign: Sign;
  text: string;
}

/** What each finding means; kinds that are unknown here are shown by their name alone. */
export const MEANING: Record<string, string> = {
  LOST: "The wallet was debited, and the payment is on its way nowhere: nobody will pay the bill, or hear that it is paid.",
  "PAID TWICE": "The provider took the money more than once for one payment.",
  "REFUNDED THOUGH PAID": "The customer got the money back, and the provider has it too.",
  "PAID, NOT AT PROVIDER": "Paid here, but the provider's list does not have it as accepted.",
  "AT PROVIDER, NOT HERE": "The provider took money for what is no payment here.",
  "NOT IN THE WALLET": "Kafka or bill-payer has a payment that the wallet does not know.",
  DIFFERS: "Two parts, or two messages, tell different things of one payment.",
  STUCK: "In flight for far too long; it may still arrive.",
  "OUT OF ORDER": "Events of one wallet were seen in another order than they were committed.",
  UNBALANCED: "Transfers do not fit their payment, their accounts or one another.",
  "BALANCE DIFFERS": "A wallet's balance is not the sum of its transfers.",
};

/** Of how money came out; null: not known yet. */
export function signOf(outcome: Outcome | null): Sign {
  return outcome === null ? "open" : SIGN[outcome];
}

const SIGN: Record<Outcome, Sign> = { right: "good", wrong: "trouble", money_lost: "bad" };

export function signOfFinding(finding: Finding): Sign {
  return finding.count === 0 ? "good" : signOf(finding.outcome);
}

export function verdictOf(money: Money | null): Verdict {
  if (money === null) return { sign: "open", text: "Nothing has been counted yet." };
  const wrong = money.findings.filter((finding) => finding.count > 0);
  const sign = wrong.some((finding) => signOfFinding(finding) === "bad") ? "bad" : "trouble";
  if (wrong.length > 0) return { sign, text: wrong.map(({ kind, count: n }) => sentence(kind, n)).join(" ") };
  if ((money.away ?? money.error) !== null && money.took_ms === 0) return { sign: "open", text: "It can't be counted now: a server is down." };
  if (money.accepted === 0) return { sign: "open", text: "No payment was accepted since then." };
  if (money.complete) {
    return {
      sign: "good",
      text: `${plural(money.accepted, "payment")} ended: ${count(money.paid)} paid, ${count(money.refunded)} refunded. Nothing lost, nothing paid twice.`,
    };
  }
  return { sign: "open", text: `Nothing is lost so far; ${plural(money.in_flight, "payment is", "payments are")} on the way.` };
}

function sentence(kind: string, n: number): string {
  switch (kind) {
    case "LOST":
      return `${plural(n, "payment")} LOST: debited, and never to be paid.`;
    case "PAID TWICE":
      return `${plural(n, "payment")} PAID TWICE.`;
    default:
      return `${count(n)} ${kind}.`;
  }
}

export function countOf(money: Money | null, kind: string): number | null {
  return money === null ? null : (money.findings.find((finding) => finding.kind === kind)?.count ?? 0);
}

export interface RunVerdict extends Verdict {
  /** The same where there is room for two words. */
  short: string;
}

const SHORT: Record<Sign, string> = { good: "nothing lost", bad: "money lost", trouble: "wrong", open: "not known" };

/** A run's own verdict: the server's sentence, or how far it is. */
export function runVerdict(run: Run): RunVerdict {
  if (run.verdict !== null) {
    const sign = signOf(run.outcome);
    return { sign, text: run.verdict, short: SHORT[sign] };
  }
  switch (run.state) {
    case "running":
      return { sign: "open", text: `Sending: ${count(run.sent)} of ${count(run.requests)}.`, short: "sending" };
    case "settling":
      return { sign: "open", text: "All sent. Waiting until each payment has ended, then the money is counted.", short: "counting" };
    case "stopped":
      return { sign: "open", text: "Stopped.", short: "stopped" };
    case "finished":
      return { sign: "open", text: "Finished; the money is being counted.", short: "counting" };
  }
}
