/** A PostgreSQL server (15 or later), shared by any number of processes. */
import { createHash } from "node:crypto";
import { Socket } from "node:net";
import { PrismaPg } from "@prisma/adapter-pg";
import type { SqlMigrationAwareDriverAdapterFactory } from "@prisma/driver-adapter-utils";
import pg, { type ClientConfig, type PoolConfig } from "pg";
import type { Access } from "./access.ts";
import { type DatabaseEngine, HUNG_MS, type Statement } from "./database.ts";
import { InProcessDoorbell } from "./doorbell.ts";
import { StartupError } from "./errors.ts";
import type { Logger } from "./logger.ts";
import { Ticker } from "./ticker.ts";

/** Connections of this process, the listening one not counted, unless told otherwise. */
const POOL_SIZE = 10;
/** More of them for each role that runs statements which are transactions of their own, to the server itself. */
const SINGLE_COUNT = 2;
const CONNECT_TIMEOUT_MS = 10_000;
/** For a free connection of the pool, when all are busy: as long as a transaction may wait. */
const POOL_TIMEOUT_MS = 60_000;
/**
 * A connection on which nothing comes for so long while it is asked something leads nowhere, and is given up: a network
 * may forget connections and say so to nobody. More than a statement may take.
 */
const SILENCE_MS = 20_000;
/** Rings of one process in this time are one notification: each takes a lock of the whole database when it commits. */
const RING_MS = 20;
/** Whether the connection that listens is there. */
const LOOK_MS = 1000;
const MAX_NAMES = 1000;
const CHANNEL = "atelier_doorbell";
/** Any number that other programs hardly lock. */
const MIGRATION_LOCK = 4_711_001;

export interface PostgresOptions {
  /** postgresql://user:password@host:port/database; may be that of a pooler, which hands out connections by transaction. */
  readonly url: string;
  /** Of the server itself, where `url` is a pooler's: what it notifies of, and locks of a session, need a connection of their own. */
  readonly directUrl?: string | undefined;
  /** Of the server itself, with a login that owns the tables, where that of `url` only uses them; else it is `directUrl` that migrates. */
  readonly migrationUrl?: string | undefined;
  readonly poolSize?: number;
  /** Unless told otherwise: connections keep statements prepared, also those that a pooler hands out. */
  readonly prepares?: boolean;
  readonly silenceMs?: number;
  readonly logger: Logger;
}

/**
 * Connects. The login owns the tables and must be allowed to make roles when the first migrations run; it needs no other
 * privilege, and row-level security holds for it too.
 */
export async function openPostgresDatabase({
  url,
  directUrl = url,
  migrationUrl,
  poolSize = POOL_SIZE,
  prepares = true,
  silenceMs = SILENCE_MS,
  logger,
}: PostgresOptions): Promise<DatabaseEngine> {
  const config: ClientConfig = { connectionString: directUrl, connectionTimeoutMillis: CONNECT_TIMEOUT_MS };
  const stream = endingWhenSilent(silenceMs);
  const pooled: PoolConfig = { connectionString: url, connectionTimeoutMillis: POOL_TIMEOUT_MS, stream };
  const pool = new pg.Pool({ ...pooled, max: poolSize });
  surviveLosses(pool, logger);
  const singles = new SingleStatements({ ...pooled, connectionString: directUrl, max: SINGLE_COUNT }, logger);
  const doorbell = new NotifiedDoorbell(pool, { config: { ...config, stream }, silenceMs, logger });
  try {
    await pool.query("select 1");
    await doorbell.listen();
  } catch (cause) {
    await doorbell.close();
    await Promise.all([pool.end(), singles.close()]);
    unreachable("DATABASE_URL", cause);
  }
  // Statements of the same text are prepared once for each connection.
  const factory = new PrismaPg(pool, prepares ? { statementNameGenerator: ({ sql }) => nameOf(sql) } : {});
  return {
    factory,
    doorbell,
    isExclusive: false,
    async migrate(apply) {
      const ofOwner = { ...config, connectionString: migrationUrl ?? directUrl };
      const client = new pg.Client(ofOwner);
      // The schema engine locks the database against other engines, and leaves that to the end of its connection.
      const ofEngine = new pg.Pool({ ...ofOwner, max: 1 });
      try {
        await client.connect().catch((cause) => unreachable("DATABASE_MIGRATION_URL", cause));
        await client.query("select pg_advisory_lock($1)", [MIGRATION_LOCK]);
        await apply(withWholeScripts(new PrismaPg(ofEngine), client));
        if (migrationUrl !== undefined) await admitLogin(client, url);
      } catch (error) {
        throw migrationUrl === undefined && isDenied(error) ? notOwner(error) : error;
      } finally {
        await ofEngine.end();
        await client.end();
      }
    },
    runAlone: (role, statement) => singles.run(role, statement),
    async vacuum() {}, // the server's autovacuum does
    async close() {
      await doorbell.close();
      await Promise.all([pool.end(), singles.close()]);
    },
  };
}

/** Pools close what nobody uses long before. */
const endingWhenSilent = (ms: number) => (): Socket => {
  const socket = new Socket();
  return socket.setTimeout(ms, () => socket.destroy(new Error(`The database kept silent for ${ms / 1000} s.`)));
};

function unreachable(variable: string, cause: unknown): never {
  throw new StartupError(
    `The database of ${variable} cannot be reached: ${cause instanceof Error ? cause.message : String(cause)}. Check the address, and that the server runs.`,
    { cause },
  );
}

/** What servers do with tables they do as one of these. */
const ROLES = "atelier_api, atelier_poll, atelier_dispatcher, atelier_platform";

/** Lets the login of servers use what the owner of the tables has made, and see whether it is up to date. */
async function admitLogin(client: pg.Client, url: string): Promise<void> {
  const login = decodeURIComponent(new URL(url).username);
  if (login === "" || login === client.user) return;
  await client.query(`grant ${ROLES} to ${pg.escapeIdentifier(login)}`);
  await client.query(`grant select on _prisma_migrations to ${pg.escapeIdentifier(login)}`);
}

const isDenied = (error: unknown): boolean => /42501|permission denied|must be owner/.test(String(error));

const notOwner = (cause: unknown): StartupError =>
  new StartupError(
    "The database is not up to date, and the login of DATABASE_URL may not change it. Run dist/src/migrate.js with DATABASE_MIGRATION_URL, the address with the login of its owner.",
    { cause },
  );

/** A connection that is lost fails what is asked on it; by itself, it would also end this process. */
function surviveLosses(pool: pg.Pool, logger: Logger): void {
  pool.on("error", (err) => logger.warn({ err }, "an idle connection to the database was lost"));
  pool.on("connect", (client) => client.on("error", (err) => logger.debug({ err }, "a connection was lost")));
}

/** The adapter cuts scripts at every semicolon, also inside functions: here, the server takes them as they are. */
function withWholeScripts(factory: PrismaPg, client: pg.Client): SqlMigrationAwareDriverAdapterFactory {
  return {
    provider: factory.provider,
    adapterName: factory.adapterName,
    connectToShadowDb: () => factory.connectToShadowDb(),
    async connect() {
      const adapter = await factory.connect();
      adapter.executeScript = async (script) => void (await client.query(script));
      return adapter;
    },
  };
}

/** Of the statements that were sent last, so that their texts are not hashed each time. */
const names = new Map<string, string>();

function nameOf(sql: string): string {
  const known = names.get(sql);
  if (known !== undefined) return known;
  if (names.size >= MAX_NAMES) names.clear();
  const name = createHash("md5").update(sql).digest("base64");
  names.set(sql, name);
  return name;
}

/**
 * Connections that act as one role for as long as they last: a statement is a transaction of its own there, in one round trip
 * where a unit of work has four. Its plan is made once, for any values, and counts on memory: to plan a claim anew takes as
 * long as to make one, and to read a small table whole takes longer than to look its rows up (bench/claim.ts).
 */
class SingleStatements {
  private readonly pools = new Map<Access["role"], pg.Pool>();

  constructor(
    private readonly config: PoolConfig,
    private readonly logger: Logger,
  ) {}

  async run(role: Access["role"], { text, values }: Statement): Promise<readonly unknown[]> {
    const { rows } = await this.poolOf(role).query({ name: nameOf(text), text, values: [...values] });
    return rows;
  }

  async close(): Promise<void> {
    await Promise.all([...this.pools.values()].map((pool) => pool.end()));
  }

  private poolOf(role: Access["role"]): pg.Pool {
    const known = this.pools.get(role);
    if (known !== undefined) return known;
    const onConnect = async (client: pg.ClientBase) => void (await client.query(ENTER, [role]));
    const pool = new pg.Pool({ ...this.config, onConnect });
    surviveLosses(pool, this.logger);
    this.pools.set(role, pool);
    return pool;
  }
}

const ENTER = `select set_config('role', $1, false), set_config('plan_cache_mode', 'force_generic_plan', false),
  set_config('random_page_cost', '1', false), set_config('statement_timeout', '${HUNG_MS}', false)`;

interface Listening {
  readonly config: ClientConfig;
  /** Of its connection, after which it ends. */
  readonly silenceMs: number;
  readonly logger: Logger;
}

/** Rings through NOTIFY, which reaches every process that listens; this process hears its own rings at once. */
class NotifiedDoorbell extends InProcessDoorbell {
  private client: pg.Client | undefined;
  private timer: NodeJS.Timeout | undefined;
  private readonly look: Ticker;
  private isClosed = false;

  constructor(
    private readonly pool: pg.Pool,
    private readonly listening: Listening,
  ) {
    super();
    const { silenceMs, logger } = listening;
    const intervalMs = Math.min(LOOK_MS, silenceMs / 4);
    this.look = new Ticker({ name: "doorbell", intervalMs, runOnce: () => this.lookOnce(), logger });
  }

  /** Listens again where it does not; otherwise asks for an answer, because who only listens does not notice that nobody speaks. */
  private async lookOnce(): Promise<void> {
    if (this.isClosed) return;
    if (this.client === undefined) await this.listen();
    else await this.client.query("select 1");
  }

  async listen(): Promise<void> {
    const { config, logger } = this.listening;
    const client = new pg.Client(config);
    client.on("notification", ({ payload }) => {
      if (payload !== this.sender) super.ring();
    });
    client.on("error", (err) => {
      logger.warn({ err }, "the connection that listens for work was lost: polling goes on");
      this.client = undefined;
    });
    await client.connect();
    await client.query(`listen ${CHANNEL}`);
    this.client = client;
    this.look.start();
  }

  override ring(): void {
    super.ring();
    if (this.timer !== undefined || this.isClosed) return;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.pool
        .query("select pg_notify($1, $2)", [CHANNEL, this.sender])
        .catch((err) => this.listening.logger.warn({ err }, "others could not be told of work: they poll"));
    }, RING_MS).unref();
  }

  async close(): Promise<void> {
    this.isClosed = true;
    clearTimeout(this.timer);
    await this.look.stop();
    await this.client?.end().catch(() => {});
  }

  /** This process hears its own rings without the server. */
  private readonly sender = String(process.pid) + Math.random();
}
