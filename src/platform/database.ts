/**
 * The unit of work: every query runs inside `transaction`, and only there. Transactions are short and await nothing but
 * queries, because the embedded database has one connection.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { SqlMigrationAwareDriverAdapterFactory } from "@prisma/driver-adapter-utils";
import { Prisma, PrismaClient } from "../generated/prisma/client.ts";
import type { Access } from "./access.ts";
import { applyMigrations } from "./database-migrations.ts";
import { DatabaseTroubles } from "./database-troubles.ts";
import type { Doorbell } from "./doorbell.ts";
import { DomainError, invariant } from "./errors.ts";
import type { Logger } from "./logger.ts";
import { type Metrics, secondsSince } from "./metrics.ts";

/** An open transaction: what stores query with. */
export type Tx = Prisma.TransactionClient;

/** What runs raw queries: a transaction, or one for each. */
export type Querying = Pick<Tx, "$queryRaw">;

/** With $1, $2 ... for its values. */
export interface Statement {
  readonly text: string;
  readonly values: readonly unknown[];
}

/** One of the four adapters: what differs between the embedded database and a PostgreSQL server. */
export interface DatabaseEngine {
  readonly factory: SqlMigrationAwareDriverAdapterFactory;
  readonly doorbell: Doorbell;
  /** No other process can have this database open, so whatever a predecessor held is free. */
  readonly isExclusive: boolean;
  /** Runs what applies missing migrations while no other process does. */
  migrate(apply: (factory: SqlMigrationAwareDriverAdapterFactory) => Promise<unknown>): Promise<void>;
  /**
   * Runs one statement as a transaction of its own, about the rows of no tenant in particular, where that takes fewer round
   * trips than a unit of work does.
   * @returns its rows
   */
  readonly runAlone?: (role: Access["role"], statement: Statement) => Promise<readonly unknown[]>;
  /** Makes room of deleted and replaced rows usable again, where nothing else does. */
  vacuum(): Promise<void>;
  close(): Promise<void>;
}

/** How long a transaction may wait for the connection, and then last. */
const MAX_WAIT_MS = 60_000;
const TIMEOUT_MS = 15_000;
/** For a statement, or between two of them, whose end may have got lost on its way: as long as a transaction may last. */
export const HUNG_MS = String(TIMEOUT_MS);
/** Who is told what happens here. */
interface Told {
  readonly metrics?: Metrics;
  readonly logger?: Logger;
}

export class Database {
  private readonly inside = new AsyncLocalStorage<true>();
  private readonly troubles: DatabaseTroubles;

  private constructor(
    private readonly engine: DatabaseEngine,
    private readonly prisma: PrismaClient,
    private readonly told: Told,
  ) {
    this.troubles = new DatabaseTroubles(told.logger);
  }

  /** Applies missing migrations. Owns the engine from here on, also when this fails. */
  static async open(engine: DatabaseEngine, migrationsFolder: string, told: Told = {}): Promise<Database> {
    try {
      await engine.migrate((factory) => applyMigrations(factory, migrationsFolder));
      return new Database(engine, new PrismaClient({ adapter: engine.factory, errorFormat: "minimal" }), told);
    } catch (error) {
      await engine.close();
      throw error;
    }
  }

  get doorbell(): Doorbell {
    return this.engine.doorbell;
  }

  get isExclusive(): boolean {
    return this.engine.isExclusive;
  }

  /** Commits what `run` did when it resolves; undoes it when it throws. */
  async transaction<T>(access: Access, run: (tx: Tx) => Promise<T>): Promise<T> {
    invariant(this.inside.getStore() === undefined, "a transaction was opened inside another one: use the tx at hand");
    const act = async (tx: Tx): Promise<T> => {
      await enter(tx, access);
      return run(tx);
    };
    const limits = { maxWait: MAX_WAIT_MS, timeout: TIMEOUT_MS };
    return this.timed(access, () => this.inside.run(true, () => this.prisma.$transaction(act, limits)));
  }

  /** For what runs all the time and needs no more than one statement at a time: each is a transaction of its own. */
  singly(access: Access): Querying {
    const run = async (statement: Prisma.Sql): Promise<unknown> => {
      invariant(this.inside.getStore() === undefined, "a statement was run inside a transaction: use the tx at hand");
      const { runAlone } = this.engine;
      if (runAlone !== undefined && access.tenantIds.length === 0)
        return this.timed(access, () => runAlone(access.role, statement));
      return this.transaction(access, (tx) => tx.$queryRaw(statement));
    };
    const $queryRaw = (query: TemplateStringsArray | Prisma.Sql, ...values: unknown[]): Promise<unknown> =>
      run("raw" in query ? Prisma.sql(query, ...values) : query);
    return { $queryRaw: $queryRaw as Querying["$queryRaw"] };
  }

  /** What it throws of its own accord is no failure of the database. */
  private async timed<T>({ role }: Access, run: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    const note = (outcome: "committed" | "undone" | "failed"): void =>
      this.told.metrics?.transactionSeconds.observe({ role, outcome }, secondsSince(startedAt));
    try {
      const result = await run();
      note("committed");
      return result;
    } catch (error) {
      note(error instanceof DomainError ? "undone" : "failed");
      throw this.troubles.told(error);
    }
  }

  async vacuum(): Promise<void> {
    await this.engine.vacuum();
  }

  async close(): Promise<void> {
    await this.prisma.$disconnect();
    await this.engine.close();
  }
}

/**
 * Until the transaction ends, and not a statement longer: connections are shared. A server ends transactions of a process
 * that hangs, so that nobody waits for its locks.
 */
async function enter(tx: Tx, { role, tenantIds }: Access): Promise<void> {
  await tx.$executeRaw`
    select set_config('role', ${role}, true), set_config('app.tenant_ids', ${tenantIds.join(",")}, true),
      set_config('idle_in_transaction_session_timeout', ${HUNG_MS}, true), set_config('statement_timeout', ${HUNG_MS}, true)`;
}
