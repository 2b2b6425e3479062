// A verdict: a sign, a colour and, above all, words.
import type { Sign as SignName, Verdict } from "../state/verdict";
import { Icon } from "./icon";

export function VerdictLine({ verdict, testId }: { verdict: Verdict; testId?: string }) {
  return (
    <p class={`verdict ${verdict.sign}`} data-testid={testId}>
      <Sign sign={verdict.sign} />
      <span>{verdict.text}</span>
    </p>
  );
}

/** A cross for whatever is wrong; only its colour tells lost money from the rest. */
export function Sign({ sign }: { sign: SignName }) {
  return <Icon name={sign === "trouble" ? "bad" : sign} />;
}

export function Progress({ value, max, label }: { value: number; max: number; label: string }) {
  return <progress value={value} max={Math.max(1, max)} aria-label={label} />;
}
