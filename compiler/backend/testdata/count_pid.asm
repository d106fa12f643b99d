   0: call FnGetCurrentPidTgid
   1: r0 >>= 32
   2: *(u64 *)(r10 -16) = r0
   3: r1 = map @
   5: r2 = r10
   6: r2 += -16
   7: call FnMapLookupElem
   8: if r0 == 0 goto 14
   9: r5 = *(u64 *)(r0 +0)
  10: r5 += 1
  11: *(u64 *)(r0 +0) = r5
  12: r0 = 0
  13: exit
  14: *(u64 *)(r10 -8) = 1
  15: r1 = map @
  17: r2 = r10
  18: r2 += -16
  19: r3 = r10
  20: r3 += -8
  21: r4 = 1
  22: call FnMapUpdateElem
  23: ja goto 12
