// Where the boxes and arrows of the drawing are, for a pattern of writing: drawn to one scale and shown at any. Pure.
// Requests go out, results come back. Wide screens run it from left to right, narrow ones from top to bottom.
import type { Passage, Pattern } from "../contract";

export type NodeId =
  | "client" | "wallet-api" | "database" | "debit" | "outbox" | "wallet-commands" | "relay" | "wallet-events" | "bill-payer"
  | "provider" | "bill-outbox" | "relay-bill" | "bill-events";
/** read, results_read: out of an outbox, by its relay. */
export type ArrowId = Exclude<Passage, "queued"> | "read" | "results_read";

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Place {
  x: number;
  y: number;
  anchor: "middle" | "start";
}

export interface Arrow {
  path: string;
  label: Place;
  /** Which of the writes it is, where their order matters; and where its number stands. */
  step?: { n: number; x: number; y: number };
}

export interface Layout {
  width: number;
  height: number;
  upright: boolean;
  nodes: Partial<Record<NodeId, Box>>;
  arrows: Partial<Record<ArrowId, Arrow>>;
  /** Between two writes: what a crash there does, and how often it did. */
  cut: { line: string; text: Place } | null;
}

/** Below this width the boxes of a row would be too small to be read. */
const LYING_MIN = 820;

export function layoutFor(width: number, pattern: Pattern): Layout {
  const layout = width < LYING_MIN ? upright(pattern) : lying(pattern);
  // Of two writes, the other one is first.
  if (pattern === "publish-first") swapSteps(layout.arrows.committed, layout.arrows.published_itself);
  return layout;
}

function lying(pattern: Pattern): Layout {
  const common: Layout["nodes"] = {
    client: box(0, 54, 60, 60),
    "wallet-api": box(116, 24, 130, 244),
    "wallet-events": box(684, 34, 136, 100),
    "bill-payer": box(868, 24, 118, 244),
    provider: box(1032, 54, 88, 60),
    "bill-events": box(316, 202, 150, 66),
    "relay-bill": box(524, 202, 104, 66),
    "bill-outbox": box(684, 202, 136, 66),
  };
  const arrows: Layout["arrows"] = {
    requests: across(60, 116, 84),
    consumed: across(820, 868, 84),
    provider_calls: across(986, 1032, 84),
    bills_ended: across(868, 820, 237),
    results_read: across(684, 628, 237),
    results_published: across(524, 466, 237),
    settled: across(316, 246, 237),
  };
  const past = (y: number, n: number): Arrow => ({
    path: `M246 ${y}H733Q745 ${y} 745 ${y - 12}V140`,
    label: { x: 580, y: y - 9, anchor: "middle" },
    step: { n, x: 246, y },
  });
  switch (pattern) {
    case "outbox":
      return {
        ...frame(1120, 280, false),
        nodes: { ...common, database: box(312, 8, 156, 146), debit: box(324, 40, 132, 42), outbox: box(324, 88, 132, 56), relay: box(524, 44, 104, 80) },
        arrows: { ...arrows, committed: across(246, 312, 84), read: across(468, 524, 84), relayed: across(628, 684, 84) },
      };
    case "listen-to-yourself":
      return {
        ...frame(1120, 280, false),
        nodes: { ...common, "wallet-commands": box(312, 14, 172, 72), database: box(312, 98, 172, 64) },
        arrows: {
          ...arrows,
          commands: { ...across(246, 312, 38), step: { n: 1, x: 246, y: 38 } },
          commands_taken: { ...across(312, 246, 72), step: { n: 2, x: 312, y: 72 } },
          committed: { ...across(246, 312, 130), step: { n: 3, x: 246, y: 130 } },
          published_itself: past(182, 4),
        },
      };
    default:
      return {
        ...frame(1120, 280, false),
        nodes: { ...common, database: box(312, 14, 172, 90), debit: box(324, 48, 148, 46) },
        arrows: { ...arrows, committed: { ...across(246, 312, 59), step: { n: 1, x: 246, y: 59 } }, published_itself: past(180, 2) },
        cut: { line: "M246 128H300", text: { x: 308, y: 136, anchor: "start" } },
      };
  }
}

function upright(pattern: Pattern): Layout {
  const common: Layout["nodes"] = {
    client: box(124, 0, 120, 36),
    "wallet-api": box(18, 64, 332, 64),
    "wallet-events": box(214, 286, 136, 68),
    "bill-payer": box(18, 398, 332, 60),
    provider: box(214, 502, 136, 54),
    "bill-outbox": box(18, 502, 150, 54),
    "relay-bill": box(18, 588, 150, 50),
    "bill-events": box(18, 670, 150, 50),
  };
  const arrows: Layout["arrows"] = {
    requests: down(36, 64, 184),
    consumed: down(354, 398, 282),
    provider_calls: down(458, 502, 282),
    bills_ended: down(458, 502, 93),
    results_read: down(556, 588, 93),
    results_published: down(638, 670, 93),
    settled: { path: "M18 695H14Q6 695 6 687V104Q6 96 12 96", label: { x: 12, y: 386, anchor: "start" } },
  };
  switch (pattern) {
    case "outbox":
      return {
        ...frame(352, 722, true),
        nodes: { ...common, database: box(18, 166, 160, 138), debit: box(28, 198, 140, 42), outbox: box(28, 246, 140, 48), relay: box(240, 174, 110, 68) },
        arrows: { ...arrows, committed: down(128, 166, 98), read: across(178, 240, 208), relayed: down(242, 286, 294) },
      };
    case "listen-to-yourself":
      return {
        ...frame(352, 722, true),
        nodes: { ...common, "wallet-commands": box(196, 176, 154, 62), database: box(18, 176, 136, 70) },
        arrows: {
          ...arrows,
          commands: { ...down(128, 176, 232), step: { n: 1, x: 232, y: 128 } },
          commands_taken: { ...down(176, 128, 306), step: { n: 2, x: 306, y: 176 } },
          committed: { ...down(128, 176, 72), step: { n: 3, x: 72, y: 128 } },
          published_itself: { path: "M174 128V306Q174 316 184 316H208", label: { x: 168, y: 336, anchor: "middle" }, step: { n: 4, x: 174, y: 128 } },
        },
      };
    default:
      return {
        ...frame(352, 722, true),
        nodes: { ...common, database: box(18, 184, 160, 92), debit: box(28, 218, 140, 48) },
        arrows: {
          ...arrows,
          committed: { ...down(128, 184, 60), step: { n: 1, x: 60, y: 128 } },
          published_itself: { ...down(128, 286, 310), step: { n: 2, x: 310, y: 128 } },
        },
        cut: { line: "M184 132V150", text: { x: 184, y: 170, anchor: "middle" } },
      };
  }
}

function frame(width: number, height: number, isUpright: boolean): Pick<Layout, "width" | "height" | "upright" | "cut"> {
  return { width, height, upright: isUpright, cut: null };
}

function box(x: number, y: number, width: number, height: number): Box {
  return { x, y, width, height };
}

/** From one box to the next, with room for the arrow's tip. */
function across(from: number, to: number, y: number): Arrow {
  return { path: `M${from} ${y}H${to > from ? to - 6 : to + 6}`, label: { x: (from + to) / 2, y: y - 10, anchor: "middle" } };
}

function down(from: number, to: number, x: number): Arrow {
  return { path: `M${x} ${from}V${to > from ? to - 6 : to + 6}`, label: { x: x + 9, y: (from + to) / 2 + 6, anchor: "start" } };
}

function swapSteps(one: Arrow | undefined, other: Arrow | undefined): void {
  if (one?.step && other?.step) [one.step.n, other.step.n] = [other.step.n, one.step.n];
}
