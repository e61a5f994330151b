/** HTTP and WebSocket on one port: GraphQL at /graphql, signed files and uploads, health. */
import http from "node:http";
import { type AddressInfo, createServer, type Server } from "node:net";
import { ApolloServer } from "@apollo/server";
import { ApolloServerPluginDrainHttpServer } from "@apollo/server/plugin/drainHttpServer";
import { expressMiddleware } from "@as-integrations/express5";
import cors from "cors";
import express, { type ErrorRequestHandler, type RequestHandler } from "express";
import { GraphQLError, type GraphQLSchema } from "graphql";
import type { AuthService, CallerCredentials } from "../auth/auth.service.ts";
import type { CallerWatch } from "../auth/caller-watch.ts";
import type { Principal } from "../auth/principal.ts";
import type { BatchResults } from "../generation/batch-results.ts";
import type { EventContext } from "../generation/events.resolver.ts";
import type { GenerationEvents } from "../generation/generation-events.ts";
import { DomainError, StartupError } from "../platform/errors.ts";
import type { Logger } from "../platform/logger.ts";
import type { Metrics } from "../platform/metrics.ts";
import type { ReadSession } from "../platform/read-session.ts";
import type { UsageService } from "../quota/usage.service.ts";
import type { TenantExport } from "../retention/tenant-export.ts";
import { FILES_PATH, type StoredFiles } from "../storage/stored-files.ts";
import type { UploadReceiver } from "../upload/upload-receiver.ts";
import { costPlugin } from "./cost-plugin.ts";
import { formatError } from "./format-error.ts";
import { answerRefusal, httpOf } from "./http-status.ts";
import { MetricsEndpoint } from "./metrics-endpoint.ts";
import { metricsPlugin } from "./metrics-plugin.ts";
import type { OperationGate } from "./operation-gate.ts";
import { LIMITS, MAX_TOKENS } from "./query-limits.ts";
import { traceRequests, tracesPlugin } from "./request-traces.ts";
import { serveSockets } from "./sockets.ts";
import type { QueryRequest, TrustedDocuments } from "./trusted-documents.ts";

const GRAPHQL_PATH = "/graphql";
const MAX_BODY = "1mb";
/** Who sends headers byte by byte does not keep a connection. */
const HEADERS_TIMEOUT_MS = 5_000;

interface Address {
  readonly port: number;
  readonly host: string;
}

interface Route {
  isFor(request: http.IncomingMessage): boolean;
  serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void>;
}

export interface ApiOptions {
  readonly auth: AuthService;
  readonly callers: CallerWatch;
  readonly generationEvents: GenerationEvents;
  readonly files: StoredFiles;
  readonly batchResults: BatchResults;
  /** Files that are made while they are read. */
  readonly exports: readonly (UsageService | TenantExport)[];
  readonly uploads: UploadReceiver;
  readonly metrics: Metrics;
  /** Whoever has it may read them from elsewhere. */
  readonly metricsToken: string | undefined;
  readonly gate: OperationGate;
  /** For one request. */
  readonly openReads: (principal: Principal) => ReadSession;
  /** Undefined when every query is taken. */
  readonly trustedDocuments: TrustedDocuments | undefined;
  /** Whether pages of this origin may use the API. */
  readonly isAllowedOrigin: (origin: string) => boolean;
  /** Whether generations can be asked for. */
  readonly isReady: () => Promise<boolean>;
  readonly logger: Logger;
}

export class ApiServer {
  private readonly app = express();
  private readonly http = http.createServer(
    { headersTimeout: HEADERS_TIMEOUT_MS, connectionsCheckingInterval: 1000 },
    this.app,
  );
  private apollo: ApolloServer<EventContext> | undefined;
  private disposeSockets: (() => Promise<void>) | undefined;

  constructor(private readonly options: ApiOptions) {}

  async prepare(schema: GraphQLSchema): Promise<void> {
    const { logger, gate, trustedDocuments, isAllowedOrigin, metrics } = this.options;
    const apollo = new ApolloServer<EventContext>({
      schema,
      csrfPrevention: true,
      allowBatchedHttpRequests: false,
      persistedQueries: false,
      introspection: true, // for callers with a key: the gate refuses all others
      includeStacktraceInErrorResponses: false,
      parseOptions: { maxTokens: MAX_TOKENS },
      validationRules: [...LIMITS],
      stopOnTerminationSignals: false, // this process stops in an order of its own
      formatError: (formatted, error) => formatError(formatted, error, logger),
      plugins: [
        ApolloServerPluginDrainHttpServer({ httpServer: this.http }),
        costPlugin(gate),
        metricsPlugin(metrics),
        tracesPlugin(),
      ],
    });
    await apollo.start();
    this.apollo = apollo;
    this.prepareHealth();
    this.mountRoutes(apollo);
    this.disposeSockets = serveSockets(this.http, GRAPHQL_PATH, {
      schema,
      contextOf: (credentials, address) => this.contextOf(credentials, address),
      callers: this.options.callers,
      gate,
      trustedDocuments,
      isAllowedOrigin,
      metrics,
      logger,
    });
  }

  /** What every process answers: whether it lives and is ready, and its metrics. */
  prepareHealth(): void {
    const { app, options } = this;
    app.disable("x-powered-by");
    app.get("/healthz", (_, response) => void response.json({ status: "ok" }));
    app.get("/readyz", async (_, response) => {
      const isReady = await options.isReady().catch(() => false);
      response.status(isReady ? 200 : 503).json({ status: isReady ? "ready" : "starting" });
    });
    this.mount(new MetricsEndpoint({ metrics: options.metrics, token: options.metricsToken }));
  }

  /** @returns the port, which the system chose when 0 was asked for */
  async listen(address: Address): Promise<number> {
    await listen(this.http, address);
    return (this.http.address() as AddressInfo).port;
  }

  /** Lets running requests finish; sockets are told to come back (1001). */
  async stop(): Promise<void> {
    await this.disposeSockets?.();
    await this.apollo?.stop();
    if (this.apollo === undefined) await new Promise((resolve) => this.http.close(resolve));
  }

  private mountRoutes(apollo: ApolloServer<EventContext>): void {
    const { app, options } = this;
    app.use((request, response, next) =>
      request.path.startsWith(FILES_PATH) ? void options.files.serve(request, response).catch(next) : next(),
    );
    for (const route of [options.batchResults, options.uploads, ...options.exports]) this.mount(route);
    app.get(GRAPHQL_PATH, (request, response, next) =>
      request.query["query"] === undefined ? void response.status(400).json(HOW_TO_ASK) : next(),
    );
    app.use(
      GRAPHQL_PATH,
      traceRequests(GRAPHQL_PATH),
      cors({ origin: (origin, answer) => answer(null, origin !== undefined && options.isAllowedOrigin(origin)) }),
      express.json({ limit: MAX_BODY }),
      this.requireTrusted,
      expressMiddleware(apollo, { context: ({ req }) => this.httpContextOf(req) }),
    );
    app.use(answerRefusal, answerBadRequest);
    app.use(
      (_, response) => void response.status(404).json({ error: `Nothing is here. The API is at ${GRAPHQL_PATH}.` }),
    );
  }

  private mount(route: Route): void {
    this.app.use((request, response, next) =>
      route.isFor(request) ? void route.serve(request, response).catch(next) : next(),
    );
  }

  /** Puts the text of a query in the place of its id. */
  private readonly requireTrusted: RequestHandler = (request, response, next) => {
    const { trustedDocuments } = this.options;
    if (trustedDocuments === undefined) return next();
    try {
      const body: QueryRequest = request.method === "GET" ? request.query : request.body;
      request.body = { ...body, query: trustedDocuments.textOf(body) };
      next();
    } catch (error) {
      if (!(error instanceof DomainError)) return next(error);
      response.status(403).json({ errors: [{ message: error.message, extensions: { code: error.code } }] });
    }
  };

  private async contextOf(credentials: CallerCredentials, address = "unknown"): Promise<EventContext> {
    const { auth, generationEvents, openReads } = this.options;
    const principal = await auth.authenticate(credentials);
    const caller =
      principal === undefined ? `address ${address}` : (principal.apiKeyId ?? `person ${principal.userId}`);
    return { principal, caller, reads: principal && openReads(principal), generationEvents };
  }

  private async httpContextOf({ headers, socket }: http.IncomingMessage): Promise<EventContext> {
    try {
      const tenant = headers["x-tenant"]?.toString();
      return await this.contextOf({ authorization: headers.authorization, tenant }, socket.remoteAddress);
    } catch (error) {
      if (!(error instanceof DomainError)) throw error;
      throw new GraphQLError(error.message, { originalError: error, extensions: { http: httpOf(error) } });
    }
  }
}

/** Throws a StartupError when nothing can listen there: before anything is set up that takes time. */
export async function checkAddress(address: Address): Promise<void> {
  const probe = createServer();
  await listen(probe, address);
  await new Promise((resolve) => probe.close(resolve));
}

async function listen(server: Server, { port, host }: Address): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => reject(listenError(error, port, host)));
    server.listen(port, host, resolve);
  });
}

/** For a browser that is pointed at the address. */
const HOW_TO_ASK = {
  errors: [
    {
      message: 'Send {"query": "…"} with POST, as application/json, with an API key: "authorization: Bearer <key>".',
      extensions: { code: "BAD_REQUEST" },
    },
  ],
};

/** What express.json refuses, as a GraphQL answer instead of express's own page with a stack. */
const answerBadRequest: ErrorRequestHandler = (error: { status?: number }, _request, response, next) => {
  if (error.status === undefined || error.status >= 500) return next(error);
  const message =
    error.status === 413
      ? `The request is larger than ${MAX_BODY}.`
      : 'The request is not valid JSON. Send {"query": "…", "variables": {…}} as application/json.';
  response.status(error.status).json({ errors: [{ message, extensions: { code: "BAD_REQUEST" } }] });
};

function listenError(error: NodeJS.ErrnoException, port: number, host: string): Error {
  if (error.code === "EADDRINUSE") {
    return new StartupError(
      `Port ${port} is in use. Stop the other program, or choose another port: PORT=${port + 1} npm start`,
      { cause: error },
    );
  }
  if (error.code === "EACCES")
    return new StartupError(`Port ${port} needs privileges. Choose one above 1023 with PORT.`, { cause: error });
  return new StartupError(`Cannot listen on ${host}:${port} (${error.code}). Check HOST and PORT.`, { cause: error });
}
