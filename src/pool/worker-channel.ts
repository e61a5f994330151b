/** gRPC channels to workers, and what callers show so that workers let them in. */
import { Channel, type ChannelCredentials, credentials } from "@grpc/grpc-js";
import { type Client, type CompatServiceDefinition, createClient, Metadata } from "nice-grpc";

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

/** Files in PEM form. */
export interface WorkerTls {
  /** Who signs the certificates of workers, and of those who call them. */
  readonly ca: Buffer;
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** The same for all workers of a pool: then calls to a worker share their connection. */
export class WorkerAccess {
  readonly credentials: ChannelCredentials;
  readonly metadata = new Metadata();

  constructor({ token, tls }: { readonly token: string | undefined; readonly tls: WorkerTls | undefined }) {
    this.credentials =
      tls === undefined ? credentials.createInsecure() : credentials.createSsl(tls.ca, tls.key, tls.cert);
    if (token !== undefined) this.metadata.set("authorization", `Bearer ${token}`);
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
    this.access = access ?? new WorkerAccess({ token: undefined, tls: undefined });
    const named = serverName === undefined ? {} : { "grpc.ssl_target_name_override": serverName };
    // nice-grpc's own createChannel would append a port to the path of a Unix socket.
    this.channel = new Channel(target, this.access.credentials, { ...CHANNEL_OPTIONS, ...named });
  }

  clientOf<Service extends CompatServiceDefinition>(service: Service): Client<Service> {
    return createClient(service, this.channel, { "*": { metadata: this.access.metadata } });
  }

  /** Calls that run go on. */
  close(): void {
    this.channel.close();
  }
}
