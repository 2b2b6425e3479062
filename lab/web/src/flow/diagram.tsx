// The drawing: boxes for the parts, arrows with what passes, and what is down is seen to be down.
import { useEffect, useRef, useState } from "preact/hooks";
import { shown } from "../slow-motion/state";
import { live } from "../state/store";
import { type Arrow, type ArrowId, type Box, type Layout, layoutFor, type NodeId } from "./layout";
import { type FlowModel, type FlowNode, flowModel } from "./model";

export function FlowDiagram() {
  const frame = useRef<HTMLDivElement>(null);
  const width = useWidth(frame);
  const snapshot = live.value;
  const model = snapshot && flowModel(snapshot, shown.value?.pattern);
  return (
    <div class="flow-frame" ref={frame}>
      {model && width > 0 && <Drawing layout={layoutFor(width, model.pattern)} model={model} />}
    </div>
  );
}

/** What the drawing is about; the rest is lighter. */
const MAIN: ReadonlySet<string> = new Set<NodeId | ArrowId>([
  "wallet-api", "database", "debit", "outbox", "wallet-commands", "relay", "wallet-events",
  "committed", "read", "relayed", "published_itself", "commands", "commands_taken",
]);

function Drawing({ layout, model }: { layout: Layout; model: FlowModel }) {
  const { cut } = layout;
  return (
    <svg class={`flow ${layout.upright ? "upright" : "lying"}`} role="img" aria-label={model.summary} viewBox={`0 0 ${layout.width} ${layout.height}`} data-pattern={model.pattern}>
      <defs>
        <marker id="tip" viewBox="0 0 8 8" refX="3" refY="4" markerWidth="11" markerHeight="11" markerUnits="userSpaceOnUse" orient="auto">
          <path d="M0 0.5L7 4L0 7.5z" class="tip" />
        </marker>
      </defs>
      {entries(layout.nodes).map(([id, box]) => (
        <NodeBox key={id} id={id} box={box} node={model.nodes[id]} />
      ))}
      {entries(layout.arrows).map(([id, arrow]) => (
        <ArrowLine key={id} id={id} arrow={arrow} {...model.arrows[id]} />
      ))}
      {cut && (
        <g key={model.cut.count} class={model.cut.count > 0 ? "cut happened" : "cut"} data-cut={model.cut.count}>
          <path d={cut.line} />
          <text x={cut.text.x} y={cut.text.y} text-anchor={cut.text.anchor}>
            {model.cut.count > 0 ? `✕ ${model.cut.text}` : model.cut.text}
          </text>
        </g>
      )}
    </svg>
  );
}

interface ArrowProps {
  id: ArrowId;
  arrow: Arrow;
  label: string;
  perSecond: number;
  about: string;
}

function ArrowLine({ id, arrow, label, perSecond, about }: ArrowProps) {
  const pace = paceOf(perSecond);
  return (
    <g class={MAIN.has(id) ? "arrow main" : "arrow"} data-arrow={id}>
      <title>{about}</title>
      <path class="line" d={arrow.path} marker-end="url(#tip)" />
      {pace && <path class={`drops ${pace}`} d={arrow.path} />}
      <text class="rate" x={arrow.label.x} y={arrow.label.y} text-anchor={arrow.label.anchor}>
        {label}
      </text>
      {arrow.step && (
        <g class="step-number">
          <circle cx={arrow.step.x} cy={arrow.step.y} r="12" />
          <text x={arrow.step.x} y={arrow.step.y + 5.5} text-anchor="middle">
            {arrow.step.n}
          </text>
        </g>
      )}
    </g>
  );
}

function paceOf(perSecond: number): "" | "slow" | "brisk" | "fast" {
  if (perSecond <= 0) return "";
  if (perSecond < 20) return "slow";
  return perSecond < 200 ? "brisk" : "fast";
}

function NodeBox({ id, box, node }: { id: NodeId; box: Box; node: FlowNode }) {
  const main = MAIN.has(id);
  const [title, line] = main ? [21, 18] : [17, 16];
  const words = node.word === "" ? node.lines.filter((text) => text !== "") : [node.word];
  const lines = box.width > 300 && words.length > 0 ? [words.join(" ")] : words;
  // Beside the numbers on its edge.
  const x = box.x + box.width / 2 - (id === "wallet-api" ? 3 : 0);
  // A box with others in it has its words above them.
  const gauge = node.waiting === null ? 0 : GAUGE;
  const top = id === "database" && box.height > 80 ? box.y + 25 : box.y + (box.height - gauge - title - lines.length * line) / 2 + title - 4;
  return (
    <g class={`node ${node.health} ${main ? "main" : ""}`} data-node={id}>
      <rect class="body" x={box.x + 1} y={box.y + 1} width={box.width - 2} height={box.height - 2} rx="10" />
      {node.waiting !== null && <Gauge box={box} waiting={node.waiting} />}
      <text class="title" x={x} y={top} text-anchor="middle">
        {node.title}
      </text>
      {lines.map((text, i) => (
        <text key={i} class={node.word === "" ? "fact" : "fact word"} x={x} y={top + (i + 1) * line} text-anchor="middle">
          {node.word === "" ? text : `${MARK[node.health]} ${text}`}
        </text>
      ))}
    </g>
  );
}

const MARK: Record<FlowNode["health"], string> = { up: "", partly: "!", waiting: "", down: "✕" };

/** What a gauge takes of a box's height. */
const GAUGE = 7;

/** How full, on a logarithmic scale: 1 row is seen, 10,000 fill it. */
function Gauge({ box, waiting }: { box: Box; waiting: number }) {
  const share = Math.min(1, Math.log10(1 + waiting) / 4);
  return <rect class="gauge" x={box.x + 8} y={box.y + box.height - GAUGE} width={(box.width - 16) * share} height="4" rx="2" />;
}

function entries<K extends string, V>(record: Partial<Record<K, V>>): [K, V][] {
  return Object.entries(record) as [K, V][];
}

function useWidth(ref: { current: HTMLElement | null }): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    if (!ref.current) return;
    const observer = new ResizeObserver(([entry]) => entry && setWidth(Math.floor(entry.contentRect.width)));
    observer.observe(ref.current);
    return () => observer.disconnect();
  }, []);
  return width;
}
