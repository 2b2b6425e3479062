// Where the boxes and arrows of the flow diagram go, for a width. Pure. One loop in two lanes: requests go out on lane a,
// results come back on lane b. Wide screens run it from left to right, narrow ones from top to bottom.

export type NodeId =
  | "client" | "wallet-api" | "outbox" | "relay" | "wallet-events" | "bill-payer" | "provider"
  | "bill-outbox" | "relay-bill" | "bill-events";
export type ArrowId =
  | "requests" | "committed" | "read" | "published" | "consumed" | "provider_calls"
  | "results" | "results_read" | "results_published" | "settled";

type Lane = "a" | "b" | "middle" | "both";

const PLACES: Record<NodeId, [step: number, lane: Lane]> = {
  client: [0, "middle"],
  "wallet-api": [1, "both"],
  outbox: [2, "a"],
  "bill-events": [2, "b"],
  relay: [3, "a"],
  "relay-bill": [3, "b"],
  "wallet-events": [4, "a"],
  "bill-outbox": [4, "b"],
  "bill-payer": [5, "both"],
  provider: [6, "middle"],
};
const STEPS = 7;

const ENDS: Record<ArrowId, [from: NodeId, to: NodeId, lane: "a" | "b" | "middle"]> = {
  requests: ["client", "wallet-api", "middle"],
  committed: ["wallet-api", "outbox", "a"],
  read: ["outbox", "relay", "a"],
  published: ["relay", "wallet-events", "a"],
  consumed: ["wallet-events", "bill-payer", "a"],
  provider_calls: ["bill-payer", "provider", "middle"],
  results: ["bill-payer", "bill-outbox", "b"],
  results_read: ["bill-outbox", "relay-bill", "b"],
  results_published: ["relay-bill", "bill-events", "b"],
  settled: ["bill-events", "wallet-api", "b"],
};

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Arrow {
  path: string;
  label: { x: number; y: number; anchor: "middle" | "start" };
}

export interface Layout {
  width: number;
  height: number;
  upright: boolean;
  /** The arrows are short: no room for "/s". */
  tight: boolean;
  nodes: Record<NodeId, Box>;
  arrows: Record<ArrowId, Arrow>;
  /** The way of an event that wallet-api publishes itself, past outbox and relay. */
  bypass: Arrow;
}

/** What the words of each step need. */
const STEP_WIDTHS = [62, 84, 98, 98, 98, 82, 72];
const GAP_BEST = 50;

/** Below this width seven boxes in a row have no room for their words. */
const LYING_MIN = 740;

export function layoutFor(width: number): Layout {
  return width < LYING_MIN ? upright(width) : lying(width);
}

function lying(width: number): Layout {
  const headroom = 34;
  const [boxHeight, laneGap] = [72, 26];
  const laneY = { a: headroom, b: headroom + boxHeight + laneGap };
  const height = laneY.b + boxHeight + 6;
  const columns = columnsFor(width);
  const nodes = place((step, lane) => {
    const tall = lane === "both";
    const y = lane === "b" ? laneY.b : lane === "middle" ? (laneY.a + laneY.b) / 2 : laneY.a;
    const [x, boxWidth] = columns[step] ?? [0, 0];
    return { x, y, width: boxWidth, height: tall ? laneY.b + boxHeight - laneY.a : boxHeight };
  });
  const middle = { a: laneY.a + boxHeight / 2, b: laneY.b + boxHeight / 2, middle: (laneY.a + laneY.b + boxHeight) / 2 };
  const arrows = connect(nodes, ([from, to, lane]) => {
    const forth = from.x < to.x;
    const [x1, x2] = forth ? [from.x + from.width, to.x] : [from.x, to.x + to.width];
    const y = middle[lane];
    return { path: `M${x1} ${y}H${forth ? x2 - 5 : x2 + 5}`, label: { x: (x1 + x2) / 2, y: y - 8, anchor: "middle" } };
  });
  const [start, end] = [nodes["wallet-api"], nodes["wallet-events"]];
  const [x1, x2] = [start.x + start.width / 2, end.x + end.width / 2];
  const path = `M${x1} ${start.y}V18Q${x1} 10 ${x1 + 8} 10H${x2 - 8}Q${x2} 10 ${x2} 18V${end.y - 5}`;
  const tight = nodes["wallet-api"].x - nodes.client.width < 38;
  return { width, height, upright: false, tight, nodes, arrows, bypass: { path, label: { x: (x1 + x2) / 2, y: 25, anchor: "middle" } } };
}

/** Left edge and width of each step: room to spare goes to the gaps first, then to the boxes. */
function columnsFor(width: number): [x: number, width: number][] {
  const needed = STEP_WIDTHS.reduce((sum, one) => sum + one, 0);
  const gap = Math.min(GAP_BEST, (width - 2 - needed) / (STEPS - 1));
  const scale = (width - 2 - gap * (STEPS - 1)) / needed;
  let x = 1;
  return STEP_WIDTHS.map((own) => {
    const column: [number, number] = [x, own * scale];
    x += own * scale + gap;
    return column;
  });
}

function upright(width: number): Layout {
  const margin = 24;
  const [boxHeight, pitch, laneGap] = [68, 100, 14];
  const inner = width - margin - 1;
  const boxWidth = (inner - laneGap) / 2;
  const nodes = place((step, lane) => {
    const full = lane === "both";
    const x = lane === "b" ? margin + boxWidth + laneGap : lane === "middle" ? margin + (inner - boxWidth) / 2 : margin;
    return { x, y: 1 + step * pitch, width: full ? inner : boxWidth, height: boxHeight };
  });
  const middle = { a: margin + boxWidth / 2, b: margin + boxWidth * 1.5 + laneGap, middle: margin + inner / 2 };
  const arrows = connect(nodes, ([from, to, lane]) => {
    const forth = from.y < to.y;
    const [y1, y2] = forth ? [from.y + from.height, to.y] : [from.y, to.y + to.height];
    const x = middle[lane];
    return { path: `M${x} ${y1}V${forth ? y2 - 5 : y2 + 5}`, label: { x: x + 9, y: (y1 + y2) / 2 + 4, anchor: "start" } };
  });
  const [start, end] = [nodes["wallet-api"], nodes["wallet-events"]];
  const [y1, y2] = [start.y + boxHeight / 2, end.y + boxHeight / 2];
  const path = `M${start.x} ${y1}H14Q6 ${y1} 6 ${y1 + 8}V${y2 - 8}Q6 ${y2} 14 ${y2}H${end.x - 5}`;
  return {
    width,
    height: (STEPS - 1) * pitch + boxHeight + 2,
    upright: true,
    tight: false,
    nodes,
    arrows,
    bypass: { path, label: { x: 10, y: y1 - 8, anchor: "start" } },
  };
}

function place(box: (step: number, lane: Lane) => Box): Record<NodeId, Box> {
  const nodes = {} as Record<NodeId, Box>;
  for (const [id, [step, lane]] of entries(PLACES)) nodes[id] = box(step, lane);
  return nodes;
}

function connect(
  nodes: Record<NodeId, Box>,
  arrow: (ends: [from: Box, to: Box, lane: "a" | "b" | "middle"]) => Arrow,
): Record<ArrowId, Arrow> {
  const arrows = {} as Record<ArrowId, Arrow>;
  for (const [id, [from, to, lane]] of entries(ENDS)) arrows[id] = arrow([nodes[from], nodes[to], lane]);
  return arrows;
}

function entries<K extends string, V>(record: Record<K, V>): [K, V][] {
  return Object.entries(record) as [K, V][];
}
