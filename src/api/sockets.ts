/** GraphQL over WebSocket (the graphql-transport-ws protocol). A key or token that does not work, or no longer, closes with 4403. */
import type { Server } from "node:http";
import { type ExecutionArgs, execute, GraphQLError, type GraphQLSchema } from "graphql";
import type { Context, ServerOptions, SubscribePayload } from "graphql-ws";
import { type Extra, useServer } from "graphql-ws/use/ws";
import { WebSocketServer } from "ws";
import type { CallerCredentials } from "../auth/auth.service.ts";
import type { CallerWatch } from "../auth/caller-watch.ts";
import type { Principal } from "../auth/principal.ts";
import type { EventContext } from "../generation/events.resolver.ts";
import { DomainError } from "../platform/errors.ts";
import { newId } from "../platform/ids.ts";
import type { Logger } from "../platform/logger.ts";
import type { Metrics } from "../platform/metrics.ts";
import { formatError } from "./format-error.ts";
import type { CostReport, OperationGate } from "./operation-gate.ts";
import { readQuery } from "./query-limits.ts";
import { traceSocketOperation } from "./request-traces.ts";
import type { TrustedDocuments } from "./trusted-documents.ts";

const CONNECTION_INIT_TIMEOUT_MS = 3000;
const MAX_MESSAGE_BYTES = 64 * 1024;
const MAX_OPERATIONS = 100;
/** Open sockets of one key. */
const MAX_SOCKETS = 100;
const FORBIDDEN = 4403;
/** Try again later, in the registry of RFC 6455: clients do so by themselves. */
const AWAY = 1013;
const TOO_MANY = 4429;
const INTERNAL_ERROR = 4500;
/** RFC 6455, 5.5: a close frame holds 125 bytes, two of them the code. */
const MAX_REASON_BYTES = 123;

type Parameters = Readonly<Record<string, unknown>>;
type SocketContext = Context<Parameters, Extra>;

export interface SocketOptions {
  readonly schema: GraphQLSchema;
  /** Throws a DomainError for a caller who is refused. */
  readonly contextOf: (credentials: CallerCredentials, address: string | undefined) => Promise<EventContext>;
  readonly callers: CallerWatch;
  readonly gate: OperationGate;
  readonly trustedDocuments: TrustedDocuments | undefined;
  readonly isAllowedOrigin: (origin: string) => boolean;
  readonly metrics: Metrics;
  readonly logger: Logger;
}

/** Takes over the upgrades of `path`. @returns a function that tells all clients to come back (1001) and ends */
export function serveSockets(http: Server, path: string, options: SocketOptions): () => Promise<void> {
  const sockets = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE_BYTES });
  http.on("upgrade", (request, socket, head) => {
    if (new URL(request.url ?? "", "http://localhost").pathname !== path) {
      socket.end("HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n");
      return;
    }
    const { origin } = request.headers;
    if (origin !== undefined && !options.isAllowedOrigin(origin)) {
      socket.end("HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n");
      return;
    }
    sockets.handleUpgrade(request, socket, head, (client) => sockets.emit("connection", client, request));
  });
  const { socketsOpen } = options.metrics;
  sockets.on("connection", (client) => {
    socketsOpen.inc();
    client.once("close", () => socketsOpen.dec());
  });
  const server = useServer<Parameters>(protocolOptions(path, options), sockets);
  return async () => server.dispose();
}

function protocolOptions(route: string, options: SocketOptions): ServerOptions<Parameters, Extra> {
  const { callers, logger } = options;
  const format = (error: GraphQLError) => formatError(error.toJSON(), error, logger);
  const open = new OpenSockets();
  const contextFor = async (context: SocketContext): Promise<EventContext | undefined> => {
    const { socket, request } = context.extra;
    const found = await options.contextOf(credentialsOf(context.connectionParams), request.socket.remoteAddress);
    if (open.add(context.extra, found.caller)) return found;
    socket.close(TOO_MANY, `A key may have ${MAX_SOCKETS} open sockets. Use one for many subscriptions.`);
    return undefined;
  };
  return {
    connectionInitWaitTimeout: CONNECTION_INIT_TIMEOUT_MS,
    onConnect: async (context) => {
      const found = await contextFor(context).catch((error) => closeFor(error, context, logger));
      if (found?.principal !== undefined) closeWhenRefused(context, found.principal, callers);
      return found !== undefined;
    },
    onClose: ({ extra }) => open.delete(extra),
    onSubscribe: async (context, _id, payload) => {
      if (Object.keys(context.subscriptions).length > MAX_OPERATIONS)
        return [new GraphQLError(`A socket may have ${MAX_OPERATIONS} operations at a time. Open another one.`)];
      const contextValue = await contextFor(context).catch((error) =>
        isForAWhile(error) ? toGraphQL(error) : closeFor(error, context, logger),
      );
      if (contextValue instanceof GraphQLError) return [contextValue]; // what else runs on the socket goes on
      if (contextValue === undefined) return [new GraphQLError("The socket is closed.")];
      return admit(options, payload, contextValue);
    },
    execute: (args: ExecutionArgs) => {
      const { extensions } = args.contextValue as AdmittedContext;
      return traceSocketOperation({ route, extensions, operationName: args.operationName }, () => execute(args));
    },
    onError: (_context, _id, _payload, errors) => errors.map(format),
    onNext: (_context, _id, _payload, { contextValue }, { errors, data = null }) => ({
      data,
      ...(errors && { errors: errors.map(format) }),
      extensions: { ...(contextValue as AdmittedContext).report },
    }),
  };
}

interface AdmittedContext extends EventContext {
  readonly report: CostReport;
  /** As the caller sent them: with a `traceparent`, perhaps. */
  readonly extensions: object;
}

/** Reads an operation and lets it pass the gate. @returns how to execute it, or why not */
async function admit(
  { schema, gate, trustedDocuments }: SocketOptions,
  { query, operationName, variables, ...payload }: SubscribePayload,
  context: EventContext,
): Promise<ExecutionArgs | readonly GraphQLError[]> {
  try {
    const document = readQuery(schema, trustedDocuments?.textOf({ query, ...payload }) ?? query);
    if (!("kind" in document)) return document;
    const operation = { schema, document, operationName: operationName ?? undefined, variables: variables ?? {} };
    const { report, refusal } = await gate.admit(context, operation);
    if (refusal !== undefined) throw refusal;
    const contextValue: AdmittedContext = { ...context, report, extensions: payload.extensions ?? {} };
    return { schema, document, contextValue, operationName: operationName ?? null, variableValues: variables ?? null };
  } catch (error) {
    if (error instanceof GraphQLError) return [error];
    if (error instanceof DomainError) return [toGraphQL(error)];
    throw error;
  }
}

const toGraphQL = (error: DomainError): GraphQLError => new GraphQLError(error.message, { originalError: error });

/** Says nothing of the caller: who they are could not be asked. */
const isForAWhile = (error: unknown): error is DomainError =>
  error instanceof DomainError && error.code === "UNAVAILABLE";

/** Who has how many sockets. */
class OpenSockets {
  private readonly callers = new Map<Extra, string>();
  private readonly counts = new Map<string, number>();

  /** False when the caller has as many as allowed. Adding a socket again changes nothing. */
  add(socket: Extra, caller: string): boolean {
    if (this.callers.has(socket)) return true;
    const count = (this.counts.get(caller) ?? 0) + 1;
    if (count > MAX_SOCKETS) return false;
    this.callers.set(socket, caller);
    this.counts.set(caller, count);
    return true;
  }

  delete(socket: Extra): void {
    const caller = this.callers.get(socket);
    if (caller === undefined) return;
    this.callers.delete(socket);
    const count = (this.counts.get(caller) ?? 0) - 1;
    if (count > 0) this.counts.set(caller, count);
    else this.counts.delete(caller);
  }
}

function closeFor(error: unknown, { extra }: SocketContext, logger: Logger): undefined {
  if (error instanceof DomainError) {
    const code = isForAWhile(error) ? AWAY : FORBIDDEN;
    extra.socket.close(code, Buffer.from(error.message).subarray(0, MAX_REASON_BYTES));
    return;
  }
  const errorId = newId();
  logger.error({ errorId, err: error }, "socket failed");
  extra.socket.close(INTERNAL_ERROR, `Something went wrong on our side. Quote ${errorId}.`);
}

/** What a caller may do can end while the socket is open, and its subscriptions with it. */
function closeWhenRefused({ extra: { socket } }: SocketContext, principal: Principal, callers: CallerWatch): void {
  const leave = callers.watch(principal, (reason) => socket.close(FORBIDDEN, reason));
  socket.once("close", leave);
  if (socket.readyState !== socket.OPEN) leave(); // it went while we asked
}

function credentialsOf(parameters: Parameters = {}): CallerCredentials {
  const textOf = (value: unknown) => (typeof value === "string" ? value : undefined);
  return {
    authorization: textOf(parameters["authorization"] ?? parameters["Authorization"]),
    tenant: textOf(parameters["tenant"]),
  };
}
