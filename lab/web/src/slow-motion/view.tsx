// One payment, a step at a time: the source on the left, what is really there on the right, and a crash between any two steps.
import excerpts from "virtual:excerpts";
import { useEffect, useRef } from "preact/hooks";
import type { Excerpt } from "../../excerpts";
import { stopTraffic } from "../commands";
import { CommandButton, Trouble, useCommand } from "../parts/command";
import { CopyAsCurl } from "../parts/copy";
import { live, noTraffic } from "../state/store";
import { Boxes } from "./boxes";
import { back, before, begin, chosen, crash, end, forward, frames, isLast, isOpen, position, shown } from "./state";
import { nextLabel, PATTERNS, scene, verdictOf } from "./story";

export function SlowMotion() {
  const command = useCommand();
  const now = shown.value;
  // A page that died may have left one open. A new one takes its place.
  const isOfAnother = !isOpen.value && live.value?.slow_motion === true;
  return (
    <section class="slow" aria-labelledby="slow-title" data-testid="slow-motion">
      <div class="slow-head">
        <h2 id="slow-title">One payment in slow motion</h2>
        <fieldset class="slow-patterns">
          <legend class="sr-only">Pattern of the payment</legend>
          {PATTERNS.map(({ value, title, about }) => (
            <label key={value} title={about}>
              <input type="radio" name="slow-pattern" value={value} checked={chosen.value === value} disabled={isOpen.value} onChange={() => (chosen.value = value)} />
              <span>{title}</span>
            </label>
          ))}
        </fieldset>
        {!isOpen.value && (
          <CommandButton command={command} act={begin} look={now ? "plain" : "primary"} icon="start" why={isOfAnother ? null : noTraffic.value ?? noSteps()} sayWhy={noSteps() !== null}>
            {now ? "Begin another payment" : "Begin"}
          </CommandButton>
        )}
        {!isOpen.value && <CopyAsCurl of="Begin" method="POST" path="/api/slow-motion" body={{ pattern: chosen.value }} />}
        {(isOpen.value || isOfAnother) && (
          <CommandButton command={command} act={isOfAnother ? stopTraffic : end} title="Everything runs on">
            {isOfAnother ? "End the payment of another page" : "End"}
          </CommandButton>
        )}
      </div>
      {now ? <Stage /> : <Lead />}
      {!now && <Trouble command={command} />}
    </section>
  );
}

/** Why no payment can be stepped; null if one can. */
function noSteps(): string | null {
  return live.value?.relay_mode === "debezium" ? "In mode debezium Kafka Connect publishes, and it can't be stepped: switch the relays to poller or cdc." : null;
}

function Lead() {
  const pattern = PATTERNS.find(({ value }) => value === chosen.value);
  return (
    <p class="slow-lead">
      Paying a bill takes money from a wallet in PostgreSQL and tells another service through Kafka: two writes to two systems. Walk one
      real payment through them, kill a process between any two steps, and see what is left of the money. In <em>{pattern?.title}</em>,{" "}
      {pattern?.about}
    </p>
  );
}

function Stage() {
  const command = useCommand();
  const heading = useRef<HTMLHeadingElement>(null);
  const now = shown.value;
  // The button that was pressed may be gone: the keyboard goes on here.
  useEffect(() => {
    if (document.activeElement === document.body) heading.current?.focus({ preventScroll: true });
  }, [now]);
  if (!now) return null;
  const { title, text, code, line } = scene(now);
  const canCrash = isLast.value && now.victims.length > 0;
  return (
    <>
      <div class="slow-now" data-testid="slow-now">
        <div>
          <p class="quiet">
            Step {position.value + 1} of {frames.value.length + (frames.value[frames.value.length - 1]?.steps_left ?? 0)}, {now.pattern}
          </p>
          <h3 ref={heading} tabIndex={-1} class={now.verdict ? `slow-verdict ${verdictOf(now).sign}` : undefined} data-testid="slow-step" data-step={now.step}>
            {title}
          </h3>
          <p>{text}</p>
        </div>
        <div class="commands">
          <button type="button" class="button plain" aria-disabled={position.value === 0} onClick={back}>
            Back
          </button>
          {(now.next !== null || !isLast.value) && (
            <CommandButton command={command} act={forward} look="primary">
              {isLast.value ? nextLabel(now) : "Next"}
            </CommandButton>
          )}
          {isLast.value && now.next !== null && <CopyAsCurl of="Next" method="POST" path="/api/slow-motion/next" body={{ id: now.id }} />}
          {canCrash && (
            <CommandButton command={command} act={crash} look="danger" icon="kill" title={`kill -9 ${now.victims.join(" ")}`}>
              Crash here
            </CommandButton>
          )}
          {canCrash && <CopyAsCurl of="Crash here" method="POST" path="/api/slow-motion/crash" body={{ id: now.id }} />}
        </div>
      </div>
      <Trouble command={command} />
      <div class={now.crashed && now.step !== "audit" ? "slow-stage slow-crashed" : "slow-stage"} data-testid="slow-stage" data-wallet={now.wallet_id}>
        <Source excerpt={excerpts[code]} lit={line} />
        <Boxes now={now} before={before.value} />
      </div>
      {now.next === null && <TakeHome />}
    </>
  );
}

function Source({ excerpt, lit }: { excerpt: Excerpt; lit: string | null }) {
  const pre = useRef<HTMLPreElement>(null);
  const current = useRef<HTMLElement>(null);
  useEffect(() => {
    const line = lit === null ? null : current.current;
    if (pre.current) pre.current.scrollTop = line ? line.offsetTop - pre.current.clientHeight / 2 : 0;
  }, [excerpt, lit]);
  return (
    <figure class="slow-source">
      <figcaption>
        <code>{`${excerpt.file}:${excerpt.line}`}</code>
      </figcaption>
      <pre ref={pre} tabIndex={0} role="region" aria-label={`Source code of ${excerpt.file}`}>
        {excerpt.lines.map((line, i) => {
          const isLit = lit !== null && line.includes(lit);
          return (
            <code key={i} ref={isLit ? current : undefined} class={isLit ? "lit" : undefined} aria-current={isLit ? "step" : undefined}>
              {`${line}\n`}
            </code>
          );
        })}
      </pre>
    </figure>
  );
}

function TakeHome() {
  return (
    <section class="slow-home" aria-labelledby="slow-home-title">
      <h3 id="slow-home-title">Take it home</h3>
      <p>
        The pattern is a table, an append in the transaction that changes your own tables, and a loop that publishes and then deletes. The crate{" "}
        <code>outbox</code> has these three, and the crate <code>relay</code> is the loop for Kafka.
      </p>
      <div>
        <Source excerpt={excerpts.table} lit={null} />
        <Source excerpt={excerpts.append} lit={null} />
        <Source excerpt={excerpts.drain} lit={null} />
      </div>
    </section>
  );
}
