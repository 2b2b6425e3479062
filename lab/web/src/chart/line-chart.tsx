// A line chart of the last minutes, drawn by uPlot, with a legend in words. It follows the history in the store.
import "uplot/dist/uPlot.min.css";
import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { short } from "../format";
import { type History, SAMPLES_MAX, type Series } from "../state/history";
import { dark } from "../state/screen";
import { history } from "../state/store";
import { theme } from "../state/theme";

interface Look {
  name: string;
  /** What is counted. */
  about: string;
  /** A custom property of the style sheet. */
  colour: string;
  dash?: number[];
}

/** Lines differ in their dashes, too, not only in colour. */
const LOOKS: Record<Series, Look> = {
  requests: { name: "requests", about: "requests to pay that wallet-api answered, per second", colour: "--line-1" },
  published: { name: "published", about: "events on wallet.events, by the relays or by wallet-api itself, per second", colour: "--line-2", dash: [6, 3] },
  consumed: { name: "consumed", about: "events that bill-payer has taken, per second", colour: "--line-3", dash: [2, 3] },
  settled: { name: "settled", about: "results that wallet-api has taken, to settle or to refund, per second", colour: "--line-4", dash: [9, 3, 2, 3] },
  waiting: { name: "rows", about: "rows that wait in both outboxes", colour: "--line-2" },
  oldest_s: { name: "seconds", about: "age of the oldest row in both outboxes", colour: "--line-3" },
  pending: { name: "pending", about: "rows that wait in both outboxes", colour: "--line-3", dash: [2, 3] },
};

const HEIGHT = 170;

export function LineChart({ title, series }: { title: string; series: Series[] }) {
  const frame = useRef<HTMLDivElement>(null);
  useEffect(() => (frame.current ? draw(frame.current, series) : undefined), []);
  return (
    <figure class="chart">
      <figcaption>
        <strong>{title}</strong>
        {series.map((name) => (
          <Key key={name} name={name} />
        ))}
      </figcaption>
      <div class="chart-frame" ref={frame} role="img" aria-label={`Line chart of the last five minutes: ${series.map((name) => LOOKS[name].name).join(", ")}`} />
    </figure>
  );
}

/** Name, line and latest value. */
function Key({ name }: { name: Series }) {
  const look = LOOKS[name];
  const values = history.value.values[name];
  return (
    <span class="key" title={look.about}>
      <svg width="22" height="8" aria-hidden="true">
        <path d="M1 4H21" style={{ stroke: `var(${look.colour})` }} stroke-width="2" stroke-dasharray={look.dash?.join(" ")} />
      </svg>
      {look.name} <b>{short(values[values.length - 1] ?? null)}</b>
    </span>
  );
}

/** Redraws when the colours change; returns what ends it. */
function draw(frame: HTMLElement, series: Series[]): () => void {
  let plot: uPlot | null = null;
  const stopColours = effect(() => {
    // Read, so that the effect runs again when one of them changes.
    void theme.value;
    void dark.value;
    plot?.destroy();
    plot = new uPlot(options(frame, series), columns(history.peek(), series), frame);
  });
  const stopData = effect(() => {
    plot?.setData(columns(history.value, series));
  });
  const observer = new ResizeObserver(([entry]) => {
    if (entry && entry.contentRect.width > 0) plot?.setSize({ width: Math.floor(entry.contentRect.width), height: HEIGHT });
  });
  observer.observe(frame);
  return () => {
    observer.disconnect();
    stopData();
    stopColours();
    plot?.destroy();
  };
}

function columns(data: History, series: Series[]): uPlot.AlignedData {
  return [data.at, ...series.map((name) => data.values[name])];
}

function options(frame: HTMLElement, series: Series[]): uPlot.Options {
  const colour = (name: string) => resolved(frame, name);
  const axis: uPlot.Axis = {
    stroke: colour("--ink-2"),
    font: "12px system-ui, sans-serif",
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
  };
  return {
    width: Math.max(100, Math.floor(frame.clientWidth)),
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    padding: [8, 8, 0, 0],
    scales: {
      x: { range: (_plot, _min, max) => [max - SAMPLES_MAX, max] },
      y: { range: (_plot, _min, max) => [0, Math.max(2, max * 1.08)] },
    },
    axes: [
      { ...axis, size: 26, space: 56, values: (_plot, splits) => splits.map((at) => new Date(at * 1000).toLocaleTimeString("en-GB").slice(0, 5)), incrs: [60, 120, 300] },
      { ...axis, size: 44, space: 36, values: (_plot, splits) => splits.map((value) => short(value)) },
    ],
    series: [{}, ...series.map((name) => line(LOOKS[name], colour))],
  };
}

function line(look: Look, colour: (name: string) => string): uPlot.Series {
  return { stroke: colour(look.colour), width: 2, points: { show: false }, ...(look.dash ? { dash: look.dash } : {}) };
}

/** A canvas can't read custom properties: the computed colour of an element can. */
function resolved(frame: HTMLElement, property: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${property})`;
  frame.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}
