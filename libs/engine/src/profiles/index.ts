export {
  discoverProfiles,
  PROFILE_FORMAT,
  PROFILE_VERSION,
  sealProfile,
  verifyProfile,
  type ProfileDescription,
  type ProfileExpectation,
} from './profile.js';
