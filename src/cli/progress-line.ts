/** One line of a terminal that shows how far a file or a generation is. Writes nothing where there is no terminal. */
import cliProgress from "cli-progress";
import type { GenerationEvent } from "./generation-event.ts";

const { Format, Presets, SingleBar } = cliProgress; // CommonJS, of which Node sees no other names

const LARGE_BYTES = 1_000_000;

interface Extent {
  readonly done: number;
  readonly total: number;
  /** The same in words. */
  readonly text: string;
  /** Of the time that is left. */
  readonly estimate?: string;
}

export class ProgressLine {
  private readonly bar: cliProgress.SingleBar;
  private label = "";
  private extent: Extent | undefined;

  constructor(stream: NodeJS.WriteStream) {
    this.bar = new SingleBar(
      {
        stream,
        hideCursor: true,
        barsize: 32,
        format: (options, { progress }) => {
          if (this.extent === undefined) return this.label;
          const { text, estimate = "" } = this.extent;
          return `${this.label.padEnd(9)} ${Format.BarFormat(progress, options)} ${text}${estimate}`;
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
        if (event.willRetry) this.draw("trying again", undefined);
        break;
      case "ProgressEvent":
        this.draw(event.stage.toLowerCase(), stepsOf(event));
        break;
      case "FinishedEvent":
        if (event.state === "SUCCEEDED") this.draw("done", this.extent && { ...this.extent, estimate: "" });
        this.end();
        break;
      case "PreviewEvent":
      case "TextDeltaEvent":
        break;
    }
  }

  /** A file that is being sent, if it is large enough to take a moment. */
  showSending(sentBytes: number, sizeBytes: number): void {
    if (sizeBytes < LARGE_BYTES) return;
    const text = `${inMegabytes(sentBytes)}/${inMegabytes(sizeBytes)} MB`;
    this.draw("sending", { done: sentBytes, total: sizeBytes, text });
  }

  /** Leaves the line as it is and gives the terminal back. The next event begins a new line. */
  end(): void {
    this.bar.stop();
  }

  private draw(label: string, extent: Extent | undefined): void {
    this.label = label;
    this.extent = extent;
    if (!this.bar.isActive) this.bar.start(1, 0);
    this.bar.setTotal(extent?.total ?? 1);
    this.bar.update(extent?.done ?? 0);
  }
}

interface Progress {
  readonly step: number;
  readonly totalSteps: number;
  /** Milliseconds until the end, by the server's estimate. */
  readonly etaMs: number | null;
}

function stepsOf({ step, totalSteps, etaMs }: Progress): Extent {
  const estimate = etaMs === null ? "" : ` | ${(etaMs / 1000).toFixed(1)} s left`;
  return { done: step, total: totalSteps, text: `step ${step}/${totalSteps}`, estimate };
}

const inMegabytes = (bytes: number): string => (bytes / 1e6).toFixed(1);
