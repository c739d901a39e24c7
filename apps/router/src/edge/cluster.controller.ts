import type {
  ClusterFormats,
  ClusterPages,
  ClusterRequestDetail,
  ClusterSnapshot,
} from '@kvcapsule/contracts/cluster';
import { Controller, Get, Param, Query, Req, Res } from '@nestjs/common';
import {
  ApiBearerAuth,
  ApiDefaultResponse,
  ApiOkResponse,
  ApiOperation,
  ApiQuery,
  ApiResponse,
  ApiTags,
} from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { ClusterFeed } from '../cluster/cluster-feed.service.js';
import { ClusterStatus, type Viewer } from '../cluster/cluster-status.service.js';
import { describeEvents } from '../cluster/listener.js';
import { callerOf } from './auth.js';
import { openApi } from './open-api.js';

function viewerOf({ raw }: FastifyRequest): Viewer {
  const { isAdmin, principal } = callerOf(raw);
  return { isAdmin, tenant: principal.tenant };
}

@ApiTags('operations')
@ApiBearerAuth()
@ApiDefaultResponse({ description: 'An error', schema: openApi('Error') })
@Controller('v1/cluster')
export class ClusterController {
  constructor(
    private readonly status: ClusterStatus,
    private readonly feed: ClusterFeed,
  ) {}

  @Get()
  @ApiOperation({ summary: 'Workers, what their pools hold, requests of this router, the last five minutes' })
  @ApiOkResponse({ schema: openApi('ClusterSnapshot') })
  snapshot(@Req() request: FastifyRequest): ClusterSnapshot {
    return this.status.snapshot(viewerOf(request));
  }

  @Get('events')
  @ApiOperation({
    summary:
      'The same as server-sent events: a `snapshot`, then a `delta` of what has changed, twice a second at most',
  })
  @ApiResponse({
    status: 200,
    description: 'Events `snapshot` and `delta`',
    content: { 'text/event-stream': { schema: openApi('ClusterDelta') } },
  })
  events(@Req() request: FastifyRequest, @Res() reply: FastifyReply): void {
    // a stream without a body would never end
    if (request.method === 'HEAD') describeEvents(reply);
    else this.feed.listen(reply, viewerOf(request));
  }

  @Get('workers/:id/pages')
  @ApiOperation({ summary: 'What each page of a worker’s pool holds, as runs of one kind' })
  @ApiOkResponse({ schema: openApi('ClusterPages') })
  pages(@Param('id') id: string): Promise<ClusterPages> {
    return this.status.pages(id);
  }

  @Get('workers/:id/formats')
  @ApiOperation({ summary: 'What each of a worker’s codecs keeps of each layer’s keys and values' })
  @ApiOkResponse({ schema: openApi('ClusterFormats') })
  formats(@Param('id') id: string): Promise<ClusterFormats> {
    return this.status.formats(id);
  }

  @Get('requests/:id')
  @ApiOperation({
    summary: 'One request by its x-request-id: state, times, KV bytes, and why its workers had it',
  })
  @ApiQuery({
    name: 'serial',
    required: false,
    schema: { type: 'integer' },
    description: 'Which of several requests with that id; the newest without it',
  })
  @ApiOkResponse({ schema: openApi('ClusterRequestDetail') })
  request(
    @Param('id') id: string,
    @Query('serial') serial: string | undefined,
    @Req() request: FastifyRequest,
  ): ClusterRequestDetail {
    return this.status.request(id, serial === undefined ? undefined : Number(serial), viewerOf(request));
  }
}
