/** How far a build is: a bar on a terminal, and elsewhere a line every ten seconds. */
import { SingleBar } from "cli-progress";
import type { BuildProgress } from "../build-model.ts";

const STAGES: Record<BuildProgress["stage"], string> = {
  weights: "writing weights",
  digest: "computing the digest",
  preview: "fitting the preview",
};
/** Small models are built in less, without a word. */
const LINE_INTERVAL_MS = 10_000;

export class BuildProgressLine {
  private readonly bar: SingleBar;
  private lastLine: number;

  constructor(
    private readonly stream: NodeJS.WriteStream,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.lastLine = now();
    this.bar = new SingleBar({ stream, format: "{bar} {percentage} % | {stage} | {duration_formatted}" });
  }

  show({ stage, share }: BuildProgress): void {
    const percentage = Math.floor(share * 100);
    if (this.stream.isTTY) {
      if (!this.bar.isActive) this.bar.start(100, 0, { stage: STAGES[stage] });
      this.bar.update(percentage, { stage: STAGES[stage] });
      return;
    }
    if (this.now() - this.lastLine < LINE_INTERVAL_MS) return;
    this.lastLine = this.now();
    this.stream.write(`building: ${STAGES[stage]}, ${percentage} %\n`);
  }

  /** Leaves the line as it is and gives the terminal back. */
  end(): void {
    this.bar.stop();
  }
}
