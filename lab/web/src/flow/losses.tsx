// Each payment whose money is lost, as soon as the audit finds it, with a link to its trace.
import { count, shortId } from "../format";
import { traceLink } from "../state/route";
import { money } from "../state/store";
import { lossesOf } from "./model";

/** Ids shown of one kind: the rest is in the money's view. */
const SHOWN_MAX = 5;

export function Losses() {
  return (
    <ul class="losses" aria-label="Money lost">
      {lossesOf(money.value).map(({ kind, count: n, examples }) => (
        <li key={kind}>
          <strong>
            {count(n)} {kind}
          </strong>
          {examples.slice(0, SHOWN_MAX).map((id) => (
            <a key={id} href={traceLink(id)} title={`Trace of ${id}`}>
              {shortId(id)}
            </a>
          ))}
          {n > SHOWN_MAX && <a href="#money">and {count(n - Math.min(SHOWN_MAX, examples.length))} more</a>}
        </li>
      ))}
    </ul>
  );
}
