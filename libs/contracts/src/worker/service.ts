import { makeGenericClientConstructor } from '@grpc/grpc-js';
import {
  AdviseEvictionRequest,
  AdviseEvictionResponse,
  DescribeFormatsRequest,
  DescribeFormatsResponse,
  DescribePoolRequest,
  DescribePoolResponse,
  WatchCacheResponse,
  ConnectRequest,
  ConnectResponse,
  DrainRequest,
  DrainResponse,
  SendPictureRequest,
  SendPictureResponse,
  SetAdmissionRequest,
  SetAdmissionResponse,
  WatchCacheRequest,
  WorkerServiceClient as GeneratedClient,
  WorkerServiceService as generated,
} from '../gen/kvcapsule/worker/v1/worker.js';
import { serializer } from './serializer.js';

/** The generated service, whose messages are serialised with less garbage. */
export const WorkerServiceService = {
  connect: {
    ...generated.connect,
    requestSerialize: serializer(ConnectRequest),
    responseSerialize: serializer(ConnectResponse),
  },
  sendPicture: {
    ...generated.sendPicture,
    requestSerialize: serializer(SendPictureRequest),
    responseSerialize: serializer(SendPictureResponse),
  },
  drain: {
    ...generated.drain,
    requestSerialize: serializer(DrainRequest),
    responseSerialize: serializer(DrainResponse),
  },
  setAdmission: {
    ...generated.setAdmission,
    requestSerialize: serializer(SetAdmissionRequest),
    responseSerialize: serializer(SetAdmissionResponse),
  },
  watchCache: {
    ...generated.watchCache,
    requestSerialize: serializer(WatchCacheRequest),
    responseSerialize: serializer(WatchCacheResponse),
  },
  adviseEviction: {
    ...generated.adviseEviction,
    requestSerialize: serializer(AdviseEvictionRequest),
    responseSerialize: serializer(AdviseEvictionResponse),
  },
  describePool: {
    ...generated.describePool,
    requestSerialize: serializer(DescribePoolRequest),
    responseSerialize: serializer(DescribePoolResponse),
  },
  describeFormats: {
    ...generated.describeFormats,
    requestSerialize: serializer(DescribeFormatsRequest),
    responseSerialize: serializer(DescribeFormatsResponse),
  },
} satisfies typeof generated;

export type WorkerServiceClient = GeneratedClient;
export const WorkerServiceClient = makeGenericClientConstructor(
  WorkerServiceService,
  GeneratedClient.serviceName,
) as unknown as typeof GeneratedClient;
