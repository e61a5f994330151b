/** One line of a terminal that shows how far a generation is. Writes nothing where there is no terminal. */
import cliProgress from "cli-progress";
import type { GenerationEvent } from "./generation-event.ts";

const { Format, Presets, SingleBar } = cliProgress; // CommonJS, of which Node sees no other names

interface Steps {
  readonly done: number;
  readonly total: number;
  /** Milliseconds until the end, by the server's estimate. */
  readonly etaMs: number | null;
}

export class ProgressLine {
  private readonly bar: cliProgress.SingleBar;
  private label = "";
  private steps: Steps | undefined;

  constructor(stream: NodeJS.WriteStream) {
    this.bar = new SingleBar(
      {
        stream,
        hideCursor: true,
        barsize: 32,
        format: (options, { progress }) => {
          if (this.steps === undefined) return this.label;
          const { done, total, etaMs } = this.steps;
          const left = etaMs === null ? "" : ` | ${(etaMs / 1000).toFixed(1)} s left`;
          return `${this.label.padEnd(9)} ${Format.BarFormat(progress, options)} step ${done}/${total}${left}`;
        },
      },
      Presets.shades_classic,
    );
  }

  show(event: GenerationEvent): void {
    switch (event.__typename) {
      case "QueuedEvent":
        this.draw("queued", undefined);
        break;
      case "StartedEvent":
        this.draw("preparing", undefined);
        break;
      case "AttemptFailedEvent":
        this.draw("trying again", undefined);
        break;
      case "ProgressEvent":
        this.draw(event.stage.toLowerCase(), { done: event.step, total: event.totalSteps, etaMs: event.etaMs });
        break;
      case "FinishedEvent":
        if (event.state === "SUCCEEDED") this.draw("done", this.steps && { ...this.steps, etaMs: null });
        this.end();
        break;
      case "PreviewEvent":
        break;
    }
  }

  /** Leaves the line as it is and gives the terminal back. The next event begins a new line. */
  end(): void {
    this.bar.stop();
  }

  private draw(label: string, steps: Steps | undefined): void {
    this.label = label;
    this.steps = steps;
    if (!this.bar.isActive) this.bar.start(1, 0);
    this.bar.setTotal(steps?.total ?? 1);
    this.bar.update(steps?.done ?? 0);
  }
}
