/** gRPC channels to workers, and what callers show so that workers let them in. */
import { Channel, type ChannelCredentials, credentials, experimental } from "@grpc/grpc-js";
import {
  type CallOptions,
  type Client,
  type ClientMiddlewareCall,
  type CompatServiceDefinition,
  createClientFactory,
  Metadata,
} from "nice-grpc";
import type { CertificateFiles } from "../../proto/renewed-files.ts";

const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
const CHANNEL_OPTIONS = {
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  "grpc.keepalive_time_ms": 5000,
  "grpc.keepalive_timeout_ms": 5000,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000,
  "grpc.enable_http_proxy": 0,
};

/** The same for all workers of a pool: then calls to a worker share their connection. */
export class WorkerAccess {
  readonly credentials: ChannelCredentials;
  private readonly token: () => string | undefined;

  /** @param shown.token that is shown now, and may change from call to call */
  constructor(shown: { readonly token: () => string | undefined; readonly tls: CertificateFiles | undefined }) {
    const { token, tls } = shown;
    this.credentials =
      tls === undefined
        ? credentials.createInsecure()
        : experimental.createCertificateProviderChannelCredentials(tls, tls);
    this.token = token;
  }

  /** For each call, with what that has of its own. */
  metadataOf({ metadata }: CallOptions): Metadata {
    const token = this.token();
    const shown = Metadata(metadata);
    return token === undefined ? shown : shown.set("authorization", `Bearer ${token}`);
  }
}

export interface ChannelAddress {
  /** For gRPC: unix:/path, or host:port. */
  readonly target: string;
  /** What is asked of callers; on a Unix socket nothing. */
  readonly access?: WorkerAccess;
  /** That the certificate bears, where that is not the host of the target. */
  readonly serverName?: string | undefined;
}

export class WorkerChannel {
  private readonly channel: Channel;
  private readonly access: WorkerAccess;

  constructor({ target, access, serverName }: ChannelAddress) {
    this.access = access ?? new WorkerAccess({ token: () => undefined, tls: undefined });
    const named = serverName === undefined ? {} : { "grpc.ssl_target_name_override": serverName };
    // nice-grpc's own createChannel would append a port to the path of a Unix socket.
    this.channel = new Channel(target, this.access.credentials, { ...CHANNEL_OPTIONS, ...named });
  }

  clientOf<Service extends CompatServiceDefinition>(service: Service): Client<Service> {
    const { access } = this;
    const show = <Request, Response>(call: ClientMiddlewareCall<Request, Response>, options: CallOptions) =>
      call.next(call.request, { ...options, metadata: access.metadataOf(options) });
    return createClientFactory().use(show).create(service, this.channel);
  }

  /** Calls that run go on. */
  close(): void {
    this.channel.close();
  }
}
