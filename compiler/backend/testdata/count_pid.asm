   0: call FnGetCurrentPidTgid
   1: r0 >>= 32
   2: *(u64 *)(r10 -16) = r0
   3: r1 = map @
   5: r2 = r10
   6: r2 += -16
   7: call FnMapLookupElem
   8: if r0 == 0 goto 13
   9: r5 = *(u64 *)(r0 +0)
  10: r5 += 1
  11: *(u64 *)(r0 +0) = r5
  12: ja goto 22
  13: *(u64 *)(r10 -8) = 1
  14: r1 = map @
  16: r2 = r10
  17: r2 += -16
  18: r3 = r10
  19: r3 += -8
  20: r4 = 1
  21: call FnMapUpdateElem
  22: r0 = 0
  23: exit
