/** Sends the attempts of a group at once: a worker waits only a moment for those that are not there yet. */
import { newId } from "../platform/ids.ts";
import type { AttemptGroup } from "../pool/worker-call.ts";
import { GroupCompany } from "./group-company.ts";

export class GroupDeparture {
  readonly id = newId();
  /** Those that were sent. */
  readonly company = new GroupCompany();
  private ready = 0;
  private depart: () => void = () => {};
  private readonly departed = new Promise<void>((resolve) => {
    this.depart = resolve;
  });

  /** @param preparing attempts that were claimed for the group; each has to call `prepare` once */
  constructor(private preparing: number) {}

  /** Waits until every other attempt is ready, too, or has failed to be. */
  async prepare<Prepared>(
    prepare: () => Promise<Prepared>,
  ): Promise<{ readonly prepared: Prepared; readonly group: Pick<AttemptGroup, "id" | "size"> }> {
    let prepared: Prepared;
    try {
      prepared = await prepare();
      this.ready++;
    } finally {
      this.preparing--;
      if (this.preparing === 0) this.depart();
    }
    await this.departed;
    return { prepared, group: { id: this.id, size: this.ready } };
  }
}
