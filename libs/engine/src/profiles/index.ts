export {
  describeCapsules,
  describeProfile,
  type CapsuleDescription,
  type PartDescription,
  type ProfileDetails,
} from './describe.js';
export type { LayoutDescription } from './layouts.js';
export {
  discoverProfiles,
  PROFILE_FORMAT,
  sealProfile,
  verifyProfile,
  type ProfileDescription,
  type ProfileExpectation,
} from './profile.js';
