/**
 * Who is on a worker together, and what it means for each when the worker fails them. Alone it is one's own failure. In
 * company nobody can tell whose it is: each half is suspected together, and tried again without the other one.
 */
import { newId } from "../platform/ids.ts";

/** What the failure of a worker says about one of those that it ran. */
export interface SharedFailure {
  readonly hadCompany: boolean;
  /** The same of those that are suspected together; null of one that is alone from now on. */
  readonly suspicion: string | null;
  /** Generations that the worker ran when it failed the first of them. */
  readonly suspects: readonly string[];
  /** It is what the others have been told of already. */
  readonly isKnown: boolean;
}

export class GroupCompany {
  private readonly present = new Set<string>();
  /** Once the worker has failed one of them: those that it ran then. */
  private suspicions: ReadonlyMap<string, string | null> | undefined;

  enter(generationId: string): void {
    this.present.add(generationId);
  }

  /** The worker has nothing more to do with it. */
  leave(generationId: string): void {
    this.present.delete(generationId);
  }

  failed(generationId: string): SharedFailure {
    const isKnown = this.suspicions !== undefined;
    this.suspicions ??= halve([...this.present]);
    return {
      hadCompany: this.suspicions.size > 1,
      suspicion: this.suspicions.get(generationId) ?? null,
      suspects: [...this.suspicions.keys()],
      isKnown,
    };
  }
}

function halve(generations: readonly string[]): ReadonlyMap<string, string | null> {
  const middle = Math.ceil(generations.length / 2);
  const halves = [generations.slice(0, middle), generations.slice(middle)];
  return new Map(
    halves.flatMap((half) => {
      const suspicion = half.length > 1 ? newId() : null;
      return half.map((id) => [id, suspicion] as const);
    }),
  );
}
