export {
  discoverProfiles,
  PROFILE_FORMAT,
  sealProfile,
  verifyProfile,
  type ProfileDescription,
  type ProfileExpectation,
} from './profile.js';
