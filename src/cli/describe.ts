/** The command that asks about a picture: its answer goes to the standard output word by word, as it comes. */
import { ask, type Follower, type FollowOptions, follow, type Wish } from "./follow.ts";
import type { FinishedEvent, GenerationEvent } from "./generation-event.ts";

export interface DescribeOptions extends FollowOptions {
  /** Writes a part of the answer. */
  readonly write: (text: string) => void;
}

/** @returns the exit code */
export const describe = (wish: Wish, options: DescribeOptions): Promise<number> =>
  ask(wish, new AnswerWriter(options), options);

/** Waits for an answer that was asked for before, and writes it. @returns the exit code */
export const resumeDescription = (id: string, options: DescribeOptions): Promise<number> =>
  follow(id, new AnswerWriter(options), options);

class AnswerWriter implements Follower {
  private written = "";

  constructor(private readonly options: DescribeOptions) {
    const endLine = (): void => void (this.written !== "" && options.write("\n"));
    options.stop.addEventListener("abort", endLine, { once: true }); // what is said next begins a line
  }

  /** Another attempt, or another connection, begins with all words so far: only what is new is written. */
  show(event: GenerationEvent): void {
    const { progress } = this.options;
    if (event.__typename === "TextDeltaEvent") {
      if (event.offset <= this.written.length) this.append(event.text.slice(this.written.length - event.offset));
    } else if (this.written === "" && event.__typename !== "FinishedEvent") progress.show(event);
  }

  finish(id: string, { generation: { answer, creditsCharged } }: FinishedEvent): void {
    if (answer === null) throw new Error(`${id} has no answer: it draws pictures. Fetch them with generate --resume.`);
    if (answer.startsWith(this.written)) this.append(answer.slice(this.written.length));
    else this.append(`\n${answer}`); // another attempt, on another kind of worker, answered otherwise
    this.options.write("\n");
    this.options.say(`answered (${creditsCharged} credits)`);
  }

  private append(text: string): void {
    if (text === "") return;
    if (this.written === "") this.options.progress.end();
    this.written += text;
    this.options.write(text);
  }
}
