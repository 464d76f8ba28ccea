package builderagent

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// systemFacts reads no more of uname than kernel and machine: the rest names the
// host.
func systemFacts(dir string) map[string]string {
	facts := map[string]string{}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		facts["kernel"] = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
		facts["machine"] = unix.ByteSliceToString(u.Machine[:])
	}
	if cpu := procField("/proc/cpuinfo", "model name"); cpu != "" {
		facts["cpu"] = cpu
	}
	// Asked from /proc, because to ask the system is to change it for a moment.
	if mask := procField("/proc/self/status", "Umask"); mask != "" {
		facts["umask"] = mask
	}
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) == nil {
		facts["filesystem"] = filesystem(int64(fs.Type))
	}
	return facts
}

// filesystem names those on which builds run; it decides the order of files in a
// folder. statfs(2) has the numbers.
func filesystem(kind int64) string {
	name, ok := map[int64]string{
		unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
		unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.F2FS_SUPER_MAGIC: "f2fs", unix.NFS_SUPER_MAGIC: "nfs", 0x2fc12fc1: "zfs",
	}[kind]
	if !ok {
		return fmt.Sprintf("0x%x", kind)
	}
	return name
}

// procField returns the first value of that name in a file of "name: value" lines.
func procField(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
