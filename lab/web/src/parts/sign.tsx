// A verdict: a sign, a colour and, above all, words.
import type { Verdict } from "../state/verdict";
import { Icon } from "./icon";

export function VerdictLine({ verdict, testId }: { verdict: Verdict; testId?: string }) {
  return (
    <p class={`verdict ${verdict.sign}`} data-testid={testId}>
      <Icon name={verdict.sign} />
      <span>{verdict.text}</span>
    </p>
  );
}

export function Progress({ value, max, label }: { value: number; max: number; label: string }) {
  return <progress value={value} max={Math.max(1, max)} aria-label={label} />;
}
