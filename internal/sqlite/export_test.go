package sqlite

// VersionOK is tested by itself: the test cannot link an old SQLite.
var VersionOK = versionOK
