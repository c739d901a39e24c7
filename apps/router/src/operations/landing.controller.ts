import { Controller, Get } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';

const LANDING = {
  name: 'kvcapsule',
  chat: '/v1/chat/completions',
  models: '/v1/models',
  docs: '/docs',
  metrics: '/metrics',
  health: '/health/ready',
} as const;

@ApiExcludeController()
@Controller()
export class LandingController {
  @Get()
  landing(): typeof LANDING {
    return LANDING;
  }
}
