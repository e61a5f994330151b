/** Settings of a picture of the preset `tiny`, with every default resolved, without what it shows. */
export const DRAWING = {
  unconditionalPrompt: "Generate an image.",
  width: 96,
  height: 96,
  count: 1,
  steps: 18,
  guidanceScale: 3,
  guidanceSchedule: "CONSTANT",
  temperature: 1,
  speed: "EXACT",
  seed: "1",
} as const;
