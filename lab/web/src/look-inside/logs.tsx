// The last lines of a process's log, filtered by the server, followed as they come.
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { readLog, readLogParts } from "../commands";
import { useFetched } from "./fetched";

const LINES = 200;
const FOLLOW_MS = 1000;

export function LogsPage({ rest }: { rest: string[] }) {
  const list = useFetched("logs", 5000, readLogParts);
  const parts = list.data?.parts ?? [];
  const part = parts.find((one) => one === rest[0]) ?? parts[0];
  if (list.error && part === undefined) return <p class="trouble">{list.error}</p>;
  if (part === undefined) return <p class="empty">No process has a log yet.</p>;
  return (
    <div class="inside">
      <nav class="shelf" aria-label="Logs">
        <ul>
          {parts.map((one) => (
            <li key={one}>
              <a href={`#look-inside/logs/${encodeURIComponent(one)}`} aria-current={one === part ? "page" : undefined}>
                {one}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <OneLog key={part} part={part} />
    </div>
  );
}

function OneLog({ part }: { part: string }) {
  const [contains, setContains] = useState("");
  const [follow, setFollow] = useState(true);
  const { data, error } = useFetched(contains, follow ? FOLLOW_MS : null, (signal) => readLog(part, { contains, lines: LINES }, signal));
  return (
    <div class="inside-main">
      <div class="inside-head">
        <h3>{part}</h3>
        <label class="search">
          <span>Only lines with</span>
          <input type="search" value={contains} spellcheck={false} autocomplete="off" onInput={(event) => setContains(event.currentTarget.value)} />
        </label>
        <label class="tick">
          <input type="checkbox" checked={follow} onChange={(event) => setFollow(event.currentTarget.checked)} /> follow
        </label>
      </div>
      {error && <p class="trouble" role="alert">{error}</p>}
      {data === null ? !error && <p class="empty">Asking …</p> : <Lines part={part} lines={data.lines} follow={follow} />}
    </div>
  );
}

function Lines({ part, lines, follow }: { part: string; lines: string[]; follow: boolean }) {
  const frame = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (follow && frame.current) frame.current.scrollTop = frame.current.scrollHeight;
  }, [lines, follow]);
  if (lines.length === 0) return <p class="empty">No such line.</p>;
  return (
    <div class="log" ref={frame} tabIndex={0} role="region" aria-label={`Log of ${part}`}>
      {lines.map((line, i) => (
        <div key={i} class={levelOf(line)}>
          {line}
        </div>
      ))}
    </div>
  );
}

function levelOf(line: string): string {
  if (/\b(ERROR|FATAL|PANIC)\b/.test(line)) return "error";
  return /\bWARN(ING)?\b/.test(line) ? "warn" : "";
}
