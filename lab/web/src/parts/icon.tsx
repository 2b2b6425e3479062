// Small signs, drawn with the colour of the text around them. They repeat what a word next to them says.

const PATHS = {
  good: "M3 8.5l3.2 3.2L13 5",
  bad: "M4 4l8 8M12 4l-8 8",
  open: "M8 2.5a5.5 5.5 0 1 0 .01 0M8 5v3.2l2.2 1.4",
  kill: "M9.5 1.5L3.5 9H8l-1.5 5.5L12.5 7H8z",
  pause: "M5.5 3v10M10.5 3v10",
  resume: "M4.5 3l8 5-8 5z",
  restart: "M13 8a5 5 0 1 1-1.6-3.7M13 2v3h-3",
  stop: "M4 4h8v8H4z",
  start: "M4.5 3l8 5-8 5z",
  drop: "M8 2s4.5 5 4.5 8a4.5 4.5 0 0 1-9 0C3.5 7 8 2 8 2z",
  arrow: "M3 8h10M9 4l4 4-4 4",
  theme: "M8 2.5a5.5 5.5 0 1 0 .01 0zM8 2.5v11",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class={`icon icon-${name}`} width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" />
    </svg>
  );
}
