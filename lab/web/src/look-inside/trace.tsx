// One payment's way through every part, in the order of time.
import { useState } from "preact/hooks";
import type { Trace } from "../contract";
import { clockMs, duration } from "../format";
import { readTrace } from "../commands";
import { traceLink } from "../state/route";
import { RepairOne } from "../money/repair";
import { useFetched } from "./fetched";

export function TracePage({ rest }: { rest: string[] }) {
  const id = rest[0] ?? "";
  const [typed, setTyped] = useState(id);
  const [shown, setShown] = useState(id);
  if (shown !== id) {
    setShown(id);
    setTyped(id);
  }
  return (
    <>
      <form
        class="ask"
        onSubmit={(event) => {
          event.preventDefault();
          if (typed.trim() !== "") location.hash = traceLink(typed.trim());
        }}
      >
        <label class="search">
          <span>A payment's id</span>
          <input type="search" value={typed} spellcheck={false} autocomplete="off" onInput={(event) => setTyped(event.currentTarget.value)} />
        </label>
        <button type="submit" class="button plain">Trace</button>
      </form>
      {id === "" ? (
        <p class="empty">
          Give an id, or follow one from <a href="#look-inside/tables/payments">payments</a>.
        </p>
      ) : (
        <Steps key={id} id={id} />
      )}
    </>
  );
}

function Steps({ id }: { id: string }) {
  const { data, error } = useFetched(id, 1500, (signal) => readTrace(id, signal));
  if (error && data === null) return <p class="trouble" role="alert">{error}</p>;
  if (data === null) return <p class="empty">Asking …</p>;
  return (
    <div data-testid="trace">
      <p class="trace-head">
        <code>{data.payment_id}</code> <strong class={`status ${data.status}`}>{data.status ?? withoutPayment(data)}</strong>
        {data.pattern && <span class="quiet"> written by {data.pattern}</span>}
      </p>
      {data.status === "LOST" && <RepairOne id={data.payment_id} />}
      <ol class="trace">
        {data.steps.map((_, i) => (
          <StepLine key={i} trace={data} index={i} />
        ))}
      </ol>
    </div>
  );
}

/** Of a payment that the wallet database does not have. */
function withoutPayment(trace: Trace): string {
  return trace.steps.some((step) => step.where === "wallet.commands") ? "a command, not decided yet" : "unknown to the wallet";
}

function StepLine({ trace, index }: { trace: Trace; index: number }) {
  const step = trace.steps[index];
  if (!step) return null;
  const start = trace.steps.find((one) => one.at !== null)?.at ?? null;
  const facts = Object.entries(step.detail ?? {});
  return (
    <li>
      <span class="when">
        {step.at === null ? "–" : clockMs(step.at)}
        {step.at !== null && start !== null && <small>+{duration(step.at - start)}</small>}
      </span>
      <div>
        <strong>{step.where}</strong>
        <p>{step.what}</p>
        {facts.length > 0 && (
          <dl>
            {facts.map(([name, value]) => (
              <div key={name}>
                <dt>{name.replaceAll("_", " ")}</dt>
                <dd>{typeof value === "object" ? JSON.stringify(value) : String(value)}</dd>
              </div>
            ))}
          </dl>
        )}
      </div>
    </li>
  );
}
