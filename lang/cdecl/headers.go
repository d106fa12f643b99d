package cdecl

import "strings"

// Headers are not read: types and enumerators come from the kernel's BTF. What headers define as macros is not there,
// so those that scripts use are known here, once a script includes the header.

// headers has the constants of x86-64 by a word of the header's name.
var headers = []struct{ header, macros string }{
	{"socket", "AF_UNSPEC 0 AF_UNIX 1 AF_LOCAL 1 AF_INET 2 AF_INET6 10 AF_NETLINK 16 AF_PACKET 17 AF_VSOCK 40 PF_INET 2 PF_INET6 10 " +
		"SOL_SOCKET 1 SHUT_RD 0 SHUT_WR 1 SHUT_RDWR 2"},
	{"sched", "TASK_RUNNING 0 TASK_INTERRUPTIBLE 1 TASK_UNINTERRUPTIBLE 2 __TASK_STOPPED 4 __TASK_TRACED 8 EXIT_DEAD 16 EXIT_ZOMBIE 32 " +
		"TASK_DEAD 128 TASK_WAKEKILL 256 TASK_NOLOAD 1024 TASK_NEW 2048 TASK_COMM_LEN 16 " +
		"PF_IDLE 2 PF_EXITING 4 PF_WQ_WORKER 32 PF_KSWAPD 131072 PF_KTHREAD 2097152"},
	{"fcntl", "O_RDONLY 0 O_WRONLY 1 O_RDWR 2 O_CREAT 64 O_EXCL 128 O_TRUNC 512 O_APPEND 1024 O_NONBLOCK 2048 O_DIRECT 16384 " +
		"O_DIRECTORY 65536 O_CLOEXEC 524288 AT_FDCWD -100"},
	{"fs", "MAY_EXEC 1 MAY_WRITE 2 MAY_READ 4 FMODE_READ 1 FMODE_WRITE 2"},
	{"stat", "S_IFMT 0170000 S_IFSOCK 0140000 S_IFLNK 0120000 S_IFREG 0100000 S_IFBLK 0060000 S_IFDIR 0040000 S_IFCHR 0020000 S_IFIFO 0010000"},
	{"mman", "PROT_READ 1 PROT_WRITE 2 PROT_EXEC 4 MAP_SHARED 1 MAP_PRIVATE 2 MAP_FIXED 16 MAP_ANONYMOUS 32"},
	{"errno", "EPERM 1 ENOENT 2 EINTR 4 EIO 5 EBADF 9 EAGAIN 11 ENOMEM 12 EACCES 13 EFAULT 14 EBUSY 16 EEXIST 17 EINVAL 22 ENOSPC 28 " +
		"EPIPE 32 ETIMEDOUT 110 ECONNREFUSED 111"},
	{"signal", "SIGHUP 1 SIGINT 2 SIGQUIT 3 SIGILL 4 SIGTRAP 5 SIGABRT 6 SIGBUS 7 SIGFPE 8 SIGKILL 9 SIGUSR1 10 SIGSEGV 11 SIGUSR2 12 " +
		"SIGPIPE 13 SIGALRM 14 SIGTERM 15 SIGCHLD 17 SIGCONT 18 SIGSTOP 19"},
	{"if_ether", "ETH_P_IP 2048 ETH_P_ARP 2054 ETH_P_IPV6 34525 ETH_ALEN 6"},
}

// Include makes the macros of a header known. Headers include one another, so those of net and linux know sockets.
func (s *Scope) Include(header string) {
	header = strings.Trim(header, "<>\" ")
	base := header[strings.LastIndexByte(header, '/')+1:]
	base = strings.TrimSuffix(base, ".h")
	for _, h := range headers {
		if h.header != base && !(h.header == "socket" && (strings.HasPrefix(header, "net/") || strings.HasPrefix(header, "linux/net") || base == "in" || base == "in6")) {
			continue
		}
		f := strings.Fields(h.macros)
		for i := 0; i+1 < len(f); i += 2 {
			if _, ok := s.defines[f[i]]; !ok {
				s.SetMacro(f[i], f[i+1])
			}
		}
	}
}
