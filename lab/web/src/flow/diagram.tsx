// The living diagram: boxes for the parts, arrows with their rates, and what is down is seen to be down.
import { useEffect, useRef, useState } from "preact/hooks";
import { rate, short } from "../format";
import { live } from "../state/store";
import { type Arrow, type ArrowId, type Box, type Layout, layoutFor, type NodeId } from "./layout";
import { type FlowModel, type FlowNode, flowModel } from "./model";

export function FlowDiagram() {
  const frame = useRef<HTMLDivElement>(null);
  const width = useWidth(frame);
  const snapshot = live.value;
  return (
    <div class="flow-frame" ref={frame}>
      {snapshot && width > 0 && <Drawing layout={layoutFor(width)} model={flowModel(snapshot)} />}
    </div>
  );
}

function Drawing({ layout, model }: { layout: Layout; model: FlowModel }) {
  return (
    <svg class="flow" role="img" aria-label={model.summary} width={layout.width} height={layout.height} viewBox={`0 0 ${layout.width} ${layout.height}`}>
      <defs>
        <marker id="tip" viewBox="0 0 8 8" refX="3" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">
          <path d="M0 0.5L7 4L0 7.5z" class="tip" />
        </marker>
      </defs>
      {model.bypass && <ArrowLine arrow={layout.bypass} label={layout.upright ? "" : model.bypass} perSecond={model.rates.published} bypass />}
      {(Object.keys(layout.arrows) as ArrowId[]).map((id) => {
        const unused = model.bypass !== null && (id === "committed" || id === "read" || id === "published");
        return <ArrowLine key={id} arrow={layout.arrows[id]} label={unused ? "" : layout.tight ? short(model.rates[id]) : rate(model.rates[id])} perSecond={unused ? null : model.rates[id]} unused={unused} />;
      })}
      {(Object.keys(layout.nodes) as NodeId[]).map((id) => (
        <NodeBox key={id} id={id} box={layout.nodes[id]} node={model.nodes[id]} />
      ))}
    </svg>
  );
}

interface ArrowProps {
  arrow: Arrow;
  label: string;
  perSecond: number | null;
  bypass?: boolean;
  unused?: boolean;
}

function ArrowLine({ arrow, label, perSecond, bypass = false, unused = false }: ArrowProps) {
  const pace = paceOf(perSecond);
  return (
    <g class={`arrow ${bypass ? "bypass" : ""} ${unused ? "unused" : ""}`}>
      <path class="line" d={arrow.path} marker-end="url(#tip)" />
      {pace && <path class={`drops ${pace}`} d={arrow.path} />}
      <text class={pace ? "rate moving" : "rate"} x={arrow.label.x} y={arrow.label.y} text-anchor={arrow.label.anchor}>
        {label}
      </text>
    </g>
  );
}

function paceOf(perSecond: number | null): "" | "slow" | "brisk" | "fast" {
  if (perSecond === null || perSecond <= 0) return "";
  if (perSecond < 20) return "slow";
  return perSecond < 200 ? "brisk" : "fast";
}

const LINE = 14.5;

function NodeBox({ id, box, node }: { id: NodeId; box: Box; node: FlowNode }) {
  const lines = node.word === "" ? node.lines.filter((line) => line !== "") : [node.word];
  const x = box.x + box.width / 2;
  const top = box.y + (box.height - (2 + lines.length) * LINE) / 2 + LINE - 3.5;
  return (
    <g class={`node ${node.health}`} data-node={id}>
      <rect class="body" x={box.x + 0.75} y={box.y + 0.75} width={box.width - 1.5} height={box.height - 1.5} rx="9" />
      {node.waiting !== null && node.health !== "off" && <Gauge box={box} waiting={node.waiting} />}
      <text class="kicker" x={x} y={top} text-anchor="middle">{node.kicker}</text>
      <text class="title" x={x} y={top + LINE} text-anchor="middle">{node.title}</text>
      {lines.map((line, i) => (
        <text key={i} class={node.word === "" ? "fact" : "fact word"} x={x} y={top + (2 + i) * LINE} text-anchor="middle">
          {node.word === "" ? line : `${MARK[node.health]} ${line}`}
        </text>
      ))}
    </g>
  );
}

const MARK: Record<FlowNode["health"], string> = { up: "", partly: "!", waiting: "…", down: "✕", off: "" };

/** How full, on a logarithmic scale: 1 row is seen, 10,000 fill it. */
function Gauge({ box, waiting }: { box: Box; waiting: number }) {
  const share = Math.min(1, Math.log10(1 + waiting) / 4);
  const width = (box.width - 16) * share;
  return <rect class="gauge" x={box.x + 8} y={box.y + box.height - 7} width={Math.max(0, width)} height="3" rx="1.5" />;
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
